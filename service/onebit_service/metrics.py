"""Everything that Prometheus sees. Labels come from closed sets; nothing of a request's content gets in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from onebit_model.recognition.second_opinion import Fallback

FALLBACKS = get_args(Fallback)
NO_BITS = "none"
Labels = tuple[str, ...]
REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
QUEUE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
INFERENCE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
RTF_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5)


class Metrics:
    """One registry per application, so that two applications in one process do not share figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._add_work()
        self._add_decoder()
        self._add_streams_and_queue()
        self._add_model()

    def _add_work(self) -> None:
        self.request_duration = self._histogram(
            "asr_request_duration_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("endpoint", "bits", "status"),
            REQUEST_BUCKETS,
        )
        self.queue_wait = self._histogram(
            "asr_queue_wait_seconds", "Time that ready work waited for an engine.", ("kind",), QUEUE_BUCKETS
        )
        self.inference_duration = self._histogram(
            "asr_inference_duration_seconds", "Time of one engine step.", ("bits",), INFERENCE_BUCKETS
        )
        self.real_time_factor = self._histogram(
            "asr_real_time_factor", "Computing time per second of audio, once per request.", ("bits",), RTF_BUCKETS
        )
        self.audio_seconds = self._counter("asr_audio_seconds_total", "Audio transcribed.", ("bits", "kind"))
        self.processing_seconds = self._counter(
            "asr_processing_seconds_total", "Computing time spent on it.", ("bits", "kind")
        )

    def _add_decoder(self) -> None:
        self.decoder_pieces = self._counter(
            "asr_decoder_pieces_total", "Pieces of text that the attention decoder wrote.", ("bits",)
        )
        self.decoder_seconds = self._counter(
            "asr_decoder_seconds_total", "Computing time of the attention decoder.", ("bits",)
        )
        self.decoder_fallbacks = self._counter(
            "asr_decoder_fallbacks_total", "Texts of the attention decoder that are not the answer.", ("bits", "reason")
        )

    def begin_decoder(self, precisions: Iterable[int]) -> None:
        """Series at 0, so that the first text that counts is a rise and not a beginning."""
        for bits in map(str, precisions):
            self.decoder_pieces.labels(bits)
            self.decoder_seconds.labels(bits)
            for reason in FALLBACKS:
                self.decoder_fallbacks.labels(bits, reason)

    def _add_streams_and_queue(self) -> None:
        self.first_partial = self._histogram(
            "asr_stream_first_partial_seconds",
            "From the arrival of a stream's first audio to its first partial.",
            ("bits",),
            LATENCY_BUCKETS,
        )
        self.finalization = self._histogram(
            "asr_stream_finalization_seconds", "From `stop` or `finalize` to its final.", ("bits",), LATENCY_BUCKETS
        )
        self.streams_active = self._gauge("asr_streams_active", "Streams open now.")
        self.streams_max = self._gauge("asr_streams_max", "Streams that may be open at once.")
        self.queue_depth = self._gauge("asr_queue_depth", "Files being received or computed now.")
        self.queue_max = self._gauge("asr_queue_max", "Files that may be received or computed at once.")
        self.rejected = self._counter("asr_requests_rejected_total", "Requests and streams refused.", ("reason",))

    def _add_model(self) -> None:
        self.model_bytes = self._gauge("asr_model_bytes", "Size of a file with this precision alone.", ("bits",))
        self.model_resident_bytes = self._gauge(
            "asr_model_resident_bytes", "Memory that the weights of this precision alone take.", ("bits",)
        )
        self.wer = self._gauge("asr_wer_ratio", "Word error rate on a reference set.", ("bits", "dataset"))
        self.wer_words = self._gauge("asr_wer_words", "Reference words behind asr_wer_ratio.", ("bits", "dataset"))
        self.reference_last_run = self._gauge(
            "asr_reference_last_run_timestamp_seconds", "When a reference set was last scored.", ("dataset",)
        )
        self.build_info = Info("asr_build", "What is running.", registry=self.registry)

    def _histogram(self, name: str, meaning: str, labels: Labels, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, meaning: str, labels: Labels) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, labels: Labels = ()) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)
