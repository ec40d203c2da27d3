"""The threads that compute: each has engines of its own and asks for work, one batch after the other."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from onebit_kernels import Engine
from onebit_model.recognition.live import LiveOptions, LiveStream
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.voice import VoiceDetector
from onebit_service.errors import InternalError
from onebit_service.metrics import Metrics
from onebit_service.scheduling.event_loop import call_on_loop
from onebit_service.scheduling.idle_work import IdleWork
from onebit_service.scheduling.work import Clock, FileBatch, News, StreamBatch, StreamJob

log = structlog.get_logger("onebit.engine")

EngineFactory = Callable[[Recognizer, int], Engine]
"""The recognizer and a precision to an engine of one thread's own."""


@dataclass(frozen=True)
class Tools:
    """What all engine threads work with."""

    recognizer: Recognizer
    make_engine: EngineFactory
    voice: VoiceDetector
    metrics: Metrics
    clock: Clock


@dataclass(frozen=True)
class WorkSource:
    """Whom an engine thread asks for work, and tells how many seconds it took. `next_batch` waits; None is the end."""

    next_batch: Callable[[], StreamBatch | FileBatch | IdleWork | None]
    finished: Callable[[StreamBatch | FileBatch, float], None]


class EngineThread(threading.Thread):
    def __init__(self, name: str, tools: Tools, source: WorkSource) -> None:
        super().__init__(name=name, daemon=True)
        self._source = source
        self._recognizer = tools.recognizer
        self._metrics = tools.metrics
        self._clock = tools.clock
        self._engines = {bits: tools.make_engine(tools.recognizer, bits) for bits in tools.recognizer.bits}
        self._voice = tools.voice

    def open_stream(self, bits: int, options: LiveOptions) -> LiveStream:
        """On the event loop; the stream's state is touched by this thread only from its first batch on."""
        self._recognizer.require(bits)
        return LiveStream(self._recognizer, self._engines[bits], options, self._voice)

    def run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One batch, which is not kept afterwards: its streams would live until there is another one."""
        batch = self._source.next_batch()
        if batch is None:
            return False
        if isinstance(batch, IdleWork):
            batch.compute(self._recognizer, self._engines[batch.bits])
            return True
        begin = self._clock()
        try:
            if isinstance(batch, FileBatch):
                self._run_files(batch)
            else:
                self._run_streams(batch)
        except Exception as failure:
            log.exception("engine_step_failed")
            self._fail(batch, failure)
        finally:
            self._source.finished(batch, self._clock() - begin)
        return True

    def _run_streams(self, batch: StreamBatch) -> None:
        ready = [job for job in batch.jobs if job.live.prepare()]
        seconds = 0.0
        if ready:
            begin = self._clock()
            self._engines[batch.bits].step([job.live.core for job in ready])
            seconds = self._clock() - begin
            self._metrics.inference_duration.labels(str(batch.bits)).observe(seconds)
        for job in ready:
            job.processing_seconds += seconds / len(ready)
        # Without events too: the session learns that there is room for more audio.
        self._deliver([(job, News(job.live.advance(), job.live.stopped)) for job in batch.jobs])

    def _run_files(self, batch: FileBatch) -> None:
        items = [item for item in batch.items if not item[0].cancelled]
        pieces = [waiting.segment for _, waiting in items]
        searches = [job.request.search for job, _ in items]
        begin = self._clock()
        engine = self._engines[batch.request.bits]
        segments = self._recognizer.recognize(pieces, engine, batch.request.chunk, searches)
        seconds = self._clock() - begin
        self._metrics.inference_duration.labels(str(batch.request.bits)).observe(seconds)
        total = sum(piece.seconds for piece in pieces) or 1.0
        for (job, waiting), segment in zip(items, segments, strict=True):
            job.finish(waiting.index, segment, seconds * waiting.segment.seconds / total)
        for job in {job for job, _ in items}:
            call_on_loop(job.loop, job.wake)

    def _deliver(self, deliveries: list[tuple[StreamJob, News]]) -> None:
        """One wake-up of the event loop for a whole batch."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[StreamJob, News]]] = defaultdict(list)
        for job, news in deliveries:
            by_loop[job.loop].append((job, news))
        for loop, items in by_loop.items():
            call_on_loop(loop, partial(_deliver_all, items))

    def _fail(self, batch: StreamBatch | FileBatch, failure: Exception) -> None:
        if isinstance(batch, FileBatch):
            for job, _ in batch.items:
                job.fail(_engine_error(failure))
            return
        for stream_job in batch.jobs:
            stream_job.is_closed = True
            call_on_loop(stream_job.loop, partial(stream_job.deliver, News(error=_engine_error(failure))))


def _engine_error(failure: Exception) -> InternalError:
    """One for each request: it is logged again where the request's id is known."""
    error = InternalError("the engine failed; the log says why, under this request's id")
    error.__cause__ = failure
    return error


def _deliver_all(deliveries: list[tuple[StreamJob, News]]) -> None:
    for job, news in deliveries:
        job.deliver(news)
