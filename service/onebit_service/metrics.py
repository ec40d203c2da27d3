"""Everything that Prometheus sees. Labels come from closed sets; nothing of a request's content gets in."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

NO_BITS = "none"
REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
QUEUE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
INFERENCE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
RTF_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5)


class Metrics:
    """One registry per application, so that two applications in one process do not share figures."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.request_duration = Histogram(
            "asr_request_duration_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("endpoint", "bits", "status"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.queue_wait = Histogram(
            "asr_queue_wait_seconds",
            "Time that ready work waited for an engine.",
            ("kind",),
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self.inference_duration = Histogram(
            "asr_inference_duration_seconds",
            "Time of one engine step, whatever it held.",
            ("bits",),
            buckets=INFERENCE_BUCKETS,
            registry=registry,
        )
        self.real_time_factor = Histogram(
            "asr_real_time_factor",
            "Computing time per second of audio, one value per request.",
            ("bits",),
            buckets=RTF_BUCKETS,
            registry=registry,
        )
        self.audio_seconds = Counter(
            "asr_audio_seconds_total", "Audio transcribed.", ("bits", "kind"), registry=registry
        )
        self.processing_seconds = Counter(
            "asr_processing_seconds_total", "Computing time spent on it.", ("bits", "kind"), registry=registry
        )
        self.first_partial = Histogram(
            "asr_stream_first_partial_seconds",
            "From the arrival of a stream's first audio to its first partial.",
            ("bits",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.finalization = Histogram(
            "asr_stream_finalization_seconds",
            "From `stop` or `finalize` to its final.",
            ("bits",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.streams_active = Gauge("asr_streams_active", "Streams open now.", registry=registry)
        self.streams_max = Gauge("asr_streams_max", "Streams that may be open at once.", registry=registry)
        self.queue_depth = Gauge("asr_queue_depth", "Files being received or computed now.", registry=registry)
        self.queue_max = Gauge("asr_queue_max", "Files that may be received or computed at once.", registry=registry)
        self.rejected = Counter(
            "asr_requests_rejected_total", "Requests and streams refused.", ("reason",), registry=registry
        )
        self.model_bytes = Gauge(
            "asr_model_bytes", "Size of a file with this precision alone.", ("bits",), registry=registry
        )
        self.model_resident_bytes = Gauge(
            "asr_model_resident_bytes", "Memory that this precision's weights take.", ("bits",), registry=registry
        )
        self.wer = Gauge("asr_wer_ratio", "Word error rate on a reference set.", ("bits", "dataset"), registry=registry)
        self.wer_words = Gauge(
            "asr_wer_words", "Reference words behind asr_wer_ratio.", ("bits", "dataset"), registry=registry
        )
        self.reference_last_run = Gauge(
            "asr_reference_last_run_timestamp_seconds",
            "When a reference set was last scored.",
            ("dataset",),
            registry=registry,
        )
        self.build_info = Info("asr_build", "What is running.", registry=registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)
