"""The service scores itself, and only when it has nothing else to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_set
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.text.decoding import text_of
from onebit_model.text.normalization import normalise
from onebit_model.text.search import GREEDY
from onebit_service.metrics import Metrics
from onebit_service.scheduling import reference_scorer
from onebit_service.scheduling.idle_work import IdleWork
from onebit_service.scheduling.reference_scorer import ReferenceScorer
from onebit_service.scheduling.scheduler import Scheduler
from onebit_service.settings import Settings

NAME = "librispeech-other"


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return sorted(read_set(NAME), key=lambda utterance: utterance.duration_seconds)[:3]


@pytest.fixture
def scheduler(recognizer: Recognizer) -> Iterator[Scheduler]:
    running = Scheduler(recognizer, Settings(), 1, Metrics())
    running.start()
    yield running
    running.stop()


def few(monkeypatch: pytest.MonkeyPatch, utterances: list[Utterance]) -> None:
    monkeypatch.setattr(reference_scorer, "reference_sets", lambda: (NAME,))
    monkeypatch.setattr(reference_scorer, "read_set", lambda _: utterances)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_figures_are_those_of_an_evaluation(
    scheduler: Scheduler, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, utterances)
    metrics = scheduler.metrics
    scorer = ReferenceScorer(scheduler, Settings(reference_delay_seconds=0), metrics)
    before = time.time()
    scorer.start()
    wait_for(lambda: (value(metrics, "asr_reference_last_run_timestamp_seconds", dataset=NAME) or 0) >= before)
    scorer.stop()
    for bits in scheduler.recognizer.bits:
        counts = ErrorCounts()
        for utterance in utterances:
            segments = scheduler.recognizer.transcribe(utterance.audio.read(), bits)
            heard = text_of(word for segment in segments for word in segment.words)
            counts += align_texts(utterance.text, heard).counts
        assert value(metrics, "asr_wer_ratio", bits=str(bits), dataset=NAME) == counts.rate
        assert value(metrics, "asr_wer_words", bits=str(bits), dataset=NAME) == counts.words


def test_sets_of_ones_own(scheduler: Scheduler, utterances: list[Utterance], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", utterances[0].audio.read(), 16_000)
    manifest = tmp_path / "call-center.jsonl"
    manifest.write_text(json.dumps({"id": "a", "audio": "a.wav", "text": utterances[0].text, "duration": 2.0}))
    metrics = scheduler.metrics
    settings = Settings(reference_delay_seconds=0, reference_sets=(str(manifest),))
    scorer = ReferenceScorer(scheduler, settings, metrics)
    scorer.start()
    wait_for(lambda: value(metrics, "asr_reference_last_run_timestamp_seconds", dataset="call-center"))
    scorer.stop()
    words = len(normalise(utterances[0].text).split())
    assert value(metrics, "asr_wer_words", bits="4", dataset="call-center") == words


def test_idle_work_is_no_request(scheduler: Scheduler, utterances: list[Utterance]) -> None:
    work = IdleWork(scheduler.recognizer.bits[0], [], GREEDY)
    scheduler.when_idle(work)
    assert work.segments(30) == []
    assert value(scheduler.metrics, "asr_queue_wait_seconds_count", kind="file") is None


def test_until_it_has_run_it_has_never_run(
    scheduler: Scheduler, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, utterances)
    scorer = ReferenceScorer(scheduler, Settings(reference_delay_seconds=3600), scheduler.metrics)
    scorer.start()
    assert value(scheduler.metrics, "asr_reference_last_run_timestamp_seconds", dataset=NAME) == 0
    scorer.stop()


def test_it_can_be_switched_off(scheduler: Scheduler) -> None:
    threads = threading.active_count()
    scorer = ReferenceScorer(scheduler, Settings(reference_interval_seconds=0), scheduler.metrics)
    scorer.start()
    assert threading.active_count() == threads
    assert value(scheduler.metrics, "asr_reference_last_run_timestamp_seconds", dataset=NAME) is None
    scorer.stop()


def test_a_failure_costs_a_figure_and_nothing_else(
    scheduler: Scheduler, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: str) -> list[Utterance]:
        raise OSError("gone")

    few(monkeypatch, utterances)
    monkeypatch.setattr(reference_scorer, "read_set", unreadable)
    settings = Settings(reference_delay_seconds=0, reference_interval_seconds=0.01)
    scorer = ReferenceScorer(scheduler, settings, scheduler.metrics)
    scorer.start()
    time.sleep(0.1)
    few(monkeypatch, utterances)
    wait_for(lambda: value(scheduler.metrics, "asr_reference_last_run_timestamp_seconds", dataset=NAME))
    scorer.stop()
    assert scheduler.engines_alive


def test_it_stops_while_the_engines_never_get_to_it(
    recognizer: Recognizer, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, utterances)
    never_started = Scheduler(recognizer, Settings(), 1, Metrics())
    scorer = ReferenceScorer(never_started, Settings(reference_delay_seconds=0), never_started.metrics)
    scorer.start()
    time.sleep(0.1)
    scorer.stop()
