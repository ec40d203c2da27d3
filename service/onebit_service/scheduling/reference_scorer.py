"""Word error rates of reference sets, measured by the running service and published beside its latency.

One clip after the other, as work that an engine takes when nothing else waits. A stream or a file that comes just then
waits for one clip at most, and while there are any the clips are rare: `BUSY_SHARE` of an engine's time.
"""

from __future__ import annotations

import threading
import time

import structlog

from onebit_model.data.reference import read_set, reference_sets, set_name
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.recognition.segmentation import AudioSegment, Segmenter
from onebit_model.text.decoding import text_of
from onebit_service.metrics import Metrics
from onebit_service.scheduling.idle_work import IdleWork
from onebit_service.scheduling.scheduler import Scheduler
from onebit_service.settings import Settings

log = structlog.get_logger("onebit.reference")

BUSY_SHARE = 0.02
IDLE_SHARE = 0.5
POLL_SECONDS = 0.5
NEVER = 0.0


class _StoppedError(Exception):
    pass


class ReferenceScorer:
    def __init__(self, scheduler: Scheduler, settings: Settings, metrics: Metrics) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._metrics = metrics
        self._sets = settings.reference_sets or reference_sets()
        self._search = scheduler.recognizer.search()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reference", daemon=True)

    def start(self) -> None:
        if not self._settings.reference_interval_seconds:
            return
        for name in self._sets:
            self._metrics.reference_last_run.labels(set_name(name)).set(NEVER)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        pause_seconds = self._settings.reference_delay_seconds
        while not self._stopping.wait(pause_seconds):
            begin = time.monotonic()
            for name in self._sets:
                try:
                    self._score_set(name)
                except _StoppedError:
                    return
                except Exception:
                    # The figure gets old, which raises an alert; requests are not concerned.
                    log.exception("reference_set_not_scored", dataset=name)
            pause_seconds = max(0.0, self._settings.reference_interval_seconds - (time.monotonic() - begin))

    def _score_set(self, name_or_path: str) -> None:
        name = set_name(name_or_path)
        counts = {bits: ErrorCounts() for bits in self._scheduler.recognizer.bits}
        for utterance in read_set(name_or_path):
            segmenter = Segmenter(self._search.is_written)
            pieces = [*segmenter.push(utterance.audio.read()), *segmenter.finish()]
            for bits, before in counts.items():
                counts[bits] = before + align_texts(utterance.text, self._hear(bits, pieces)).counts
        for bits, count in counts.items():
            self._metrics.wer.labels(str(bits), name).set(count.rate)
            self._metrics.wer_words.labels(str(bits), name).set(count.words)
        self._metrics.reference_last_run.labels(name).set(time.time())
        rates = {str(bits): round(count.rate, 4) for bits, count in counts.items()}
        log.info("reference_set_scored", dataset=name, wer=rates)

    def _hear(self, bits: int, pieces: list[AudioSegment]) -> str:
        work = IdleWork(bits, pieces, self._search)
        self._scheduler.when_idle(work)
        while not self._stopping.is_set():
            try:
                segments = work.segments(POLL_SECONDS)
            except TimeoutError:
                continue
            self._rest(work.seconds)
            return text_of(word for segment in segments for word in segment.words)
        raise _StoppedError

    def _rest(self, worked_seconds: float) -> None:
        share = BUSY_SHARE if self._scheduler.busy else IDLE_SHARE
        self._stopping.wait(worked_seconds * (1 / share - 1))
