"""The threads that compute: each has engines of its own and asks for work, one batch after the other."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from onebit_kernels import Engine
from onebit_model.recognition.live import Final, LiveOptions, LiveStream
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segment import Segment
from onebit_model.recognition.segment_batch import SegmentBatch
from onebit_model.recognition.voice import VoiceDetector
from onebit_service.errors import InternalError
from onebit_service.metrics import Metrics
from onebit_service.scheduling.event_loop import call_on_loop
from onebit_service.scheduling.idle_work import IdleWork
from onebit_service.scheduling.work import Clock, FileBatch, News, StreamBatch, StreamJob

log = structlog.get_logger("onebit.engine")

# Streams with a chunk ready wait for a slice of somebody's text at most: with what belongs to it no longer than 20 ms.
SLICE_MILLISECONDS = 12.0

Batch = StreamBatch | FileBatch | IdleWork
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
    """Whom an engine thread asks for work, and tells how many seconds it took. `next_batch` waits; None is the end.

    A batch that is not done after its turn comes again.
    """

    next_batch: Callable[[], Batch | None]
    finished: Callable[[Batch, float], None]


class EngineThread(threading.Thread):
    def __init__(self, name: str, tools: Tools, source: WorkSource) -> None:
        super().__init__(name=name, daemon=True)
        self._source = source
        self._recognizer = recognizer = tools.recognizer
        self._metrics = tools.metrics
        self._clock = tools.clock
        self._desks = {b: recognizer.desk(tools.make_engine(recognizer, b), tools.voice) for b in recognizer.bits}

    def open_stream(self, bits: int, options: LiveOptions) -> LiveStream:
        """On the event loop; the stream's state is touched by this thread only from its first batch on."""
        self._recognizer.require(bits)
        return LiveStream(self._desks[bits], options)

    def run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One batch, which is not kept afterwards: its streams would live until there is another one."""
        batch = self._source.next_batch()
        if batch is None:
            return False
        if isinstance(batch, IdleWork):
            batch.step(self._desks[batch.bits], SLICE_MILLISECONDS)
            self._source.finished(batch, 0.0)
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
        """A chunk of those that have one, a slice of the texts that are due."""
        desk, bits = self._desks[batch.bits], str(batch.bits)
        heard = [job for job in batch.jobs if job.live.prepare()]
        if heard:
            seconds = self._timed(lambda: desk.engine.step([job.live.core for job in heard]))
            self._metrics.inference_duration.labels(bits).observe(seconds)
            _share(seconds, heard)
        written = [(job, decoding) for job in batch.jobs if (decoding := job.live.decoding) is not None]
        if written and desk.decoder is not None:
            step, decodings = desk.decoder.step, [decoding for _, decoding in written]
            seconds = self._timed(lambda: step(decodings, SLICE_MILLISECONDS))
            self._metrics.decoder_seconds.labels(bits).inc(seconds)
            _share(seconds, [job for job, _ in written])
        news = [(job, News(job.live.advance(), job.live.stopped)) for job in batch.jobs]
        finals = [event for _, new in news for event in new.events if isinstance(event, Final)]
        self._count_texts(batch.bits, [final.segment for final in finals])
        # Without events too: the session learns that there is room for more audio.
        self._deliver(news)

    def _run_files(self, batch: FileBatch) -> None:
        """One step: what is heard in the segments, or a slice of their texts."""
        if batch.done:
            return
        bits, desk = str(batch.request.bits), self._desks[batch.request.bits]
        if batch.running is None:
            items = [item for item in batch.items if not item[0].cancelled]
            batch.items[:] = items
            searched = [(waiting.segment, job.request.search) for job, waiting in items]
            batch.running = SegmentBatch(desk, batch.request.chunk, searched)
        running = batch.running
        if not running.done:
            is_text = running.writes
            seconds = self._timed(lambda: running.step(desk, SLICE_MILLISECONDS))
            batch.seconds += seconds
            if is_text:
                self._metrics.decoder_seconds.labels(bits).inc(seconds)
            else:
                self._metrics.inference_duration.labels(bits).observe(seconds)
        if running.done:
            self._finish_files(batch, running.segments())

    def _finish_files(self, batch: FileBatch, segments: Sequence[Segment]) -> None:
        self._count_texts(batch.request.bits, segments)
        total = sum(waiting.segment.seconds for _, waiting in batch.items) or 1.0
        for (job, waiting), segment in zip(batch.items, segments, strict=True):
            job.finish(waiting.index, segment, batch.seconds * waiting.segment.seconds / total)
        for job in {job for job, _ in batch.items}:
            call_on_loop(job.loop, job.wake)

    def _count_texts(self, bits: int, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self._metrics.decoder_pieces.labels(str(bits)).inc(segment.pieces)
            if segment.fallback is not None:
                self._metrics.decoder_fallbacks.labels(str(bits), segment.fallback).inc()

    def _timed(self, work: Callable[[], None]) -> float:
        begin = self._clock()
        work()
        return self._clock() - begin

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


def _share(seconds: float, jobs: Sequence[StreamJob]) -> None:
    for job in jobs:
        job.processing_seconds += seconds / len(jobs)


def _engine_error(failure: Exception) -> InternalError:
    """One for each request: it is logged again where the request's id is known."""
    error = InternalError("the engine failed; the log says why, under this request's id")
    error.__cause__ = failure
    return error


def _deliver_all(deliveries: list[tuple[StreamJob, News]]) -> None:
    for job, news in deliveries:
        job.deliver(news)
