"""Names, labels and buckets are a contract: dashboards, rules and other people's alerts are built on them."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from onebit_service.metrics import Metrics

REQUEST = ".01 .025 .05 .1 .25 .5 1 2.5 5 10 30 60 120"
QUEUE = ".001 .0025 .005 .01 .025 .05 .1 .25 .5 1 5"
INFERENCE = ".0005 .001 .0025 .005 .01 .025 .05 .1 .25 .5 1"
FACTOR = ".0005 .001 .002 .005 .01 .02 .05 .1 .2 .5 1 2"
LATENCY = ".01 .025 .05 .1 .2 .3 .5 .8 1.2 2 5"
HISTOGRAMS = [
    ("asr_request_duration_seconds", ("endpoint", "bits", "status"), REQUEST),
    ("asr_queue_wait_seconds", ("kind",), QUEUE),
    ("asr_inference_duration_seconds", ("bits",), INFERENCE),
    ("asr_real_time_factor", ("bits",), FACTOR),
    ("asr_stream_first_partial_seconds", ("bits",), LATENCY),
    ("asr_stream_finalization_seconds", ("bits",), LATENCY),
]
COUNTERS = [
    ("asr_audio_seconds", ("bits", "kind")),
    ("asr_processing_seconds", ("bits", "kind")),
    ("asr_requests_rejected", ("reason",)),
    ("asr_decoder_pieces", ("bits",)),
    ("asr_decoder_seconds", ("bits",)),
    ("asr_decoder_fallbacks", ("bits", "reason")),
]
GAUGES: list[tuple[str, tuple[str, ...]]] = [
    ("asr_streams_active", ()),
    ("asr_streams_max", ()),
    ("asr_queue_depth", ()),
    ("asr_queue_max", ()),
    ("asr_model_bytes", ("bits",)),
    ("asr_model_resident_bytes", ("bits",)),
    ("asr_wer_ratio", ("bits", "dataset")),
    ("asr_wer_words", ("bits", "dataset")),
    ("asr_reference_last_run_timestamp_seconds", ("dataset",)),
]


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text) if family.name.startswith("asr_")}


@pytest.fixture(scope="module")
def exposed() -> dict[str, Any]:
    """Every metric with one series."""
    metrics = Metrics()
    for name, labels, *_ in [*HISTOGRAMS, *COUNTERS, *GAUGES]:
        if labels:
            metrics.registry._names_to_collectors[name].labels(**dict.fromkeys(labels, "x"))  # type: ignore[attr-defined]
    metrics.build_info.info({"version": "x", "isa": "x", "model": "x"})
    return families(metrics.text().decode())


@pytest.mark.parametrize(("name", "labels", "buckets"), HISTOGRAMS)
def test_histograms(exposed: dict[str, Any], name: str, labels: tuple[str, ...], buckets: str) -> None:
    samples = [sample for sample in exposed[name].samples if sample.name == f"{name}_bucket"]
    assert exposed[name].type == "histogram"
    assert [float(sample.labels["le"]) for sample in samples] == [*map(float, buckets.split()), float("inf")]
    assert set(samples[0].labels) == {*labels, "le"}


@pytest.mark.parametrize(("name", "labels"), COUNTERS)
def test_counters(exposed: dict[str, Any], name: str, labels: tuple[str, ...]) -> None:
    assert exposed[name].type == "counter"
    (total,) = [sample for sample in exposed[name].samples if sample.name == f"{name}_total"]
    assert set(total.labels) == set(labels)


@pytest.mark.parametrize(("name", "labels"), GAUGES)
def test_gauges(exposed: dict[str, Any], name: str, labels: tuple[str, ...]) -> None:
    assert exposed[name].type == "gauge"
    assert set(exposed[name].samples[0].labels) == set(labels)


def test_nothing_else_is_exposed(exposed: dict[str, Any]) -> None:
    names = {name for name, *_ in [*HISTOGRAMS, *COUNTERS, *GAUGES]}
    assert {name for name in exposed if not name.endswith("_created")} == names | {"asr_build_info"}
    assert set(exposed["asr_build_info"].samples[0].labels) == {"version", "isa", "model"}


def test_labels_hold_nothing_of_a_request(server: Any, clip: Any) -> None:
    for query in ("bits=1", "bits=3", "bits=secret", "secret=1"):
        httpx.post(f"{server.url}/transcribe?{query}", content=clip.encoded(), headers={"x-request-id": "secret"})
    httpx.get(f"{server.url}/secret")
    text = server.metrics()
    assert "secret" not in text
    assert set(re.findall(r'bits="(\w+)"', text)) <= {"1", "2", "4", "none"}
    assert 'asr_request_duration_seconds_count{bits="none",endpoint="transcribe",status="422"}' in text
    assert 'asr_requests_rejected_total{reason="unsupported_bits"}' in text


def test_ready_means_that_nothing_is_loaded_any_more(start_server: Any) -> None:
    """What memory the precisions take is found out by loading them, which nobody should have to wait for."""
    with start_server() as fresh:
        text = fresh.metrics()
    for bits in (1, 2, 4):
        assert re.search(rf'^asr_model_resident_bytes{{bits="{bits}"}} [1-9]', text, re.MULTILINE)
