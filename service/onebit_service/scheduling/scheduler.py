"""Who is computed next, and who is let in at all.

Streams come before files: somebody is listening. An engine thread takes all streams of one precision that have a chunk
ready, the longest waiting precision first; if there are none, segments of files, which are at most 30 s of audio and
so hold a stream up for a fraction of a second at most, or a slice of their texts, which takes 20 ms; if there are none
either, work that nobody waits for. A stream
stays with one thread (its state lives in that thread's engine); segments of files go to whichever is free.

Files do not wait for ever: where streams leave no engine any time, single segments go before them, so seldom that they
take 5 % of the time (`file_turns`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from onebit_model.recognition.live import LiveOptions
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.voice import SileroVoice
from onebit_service.errors import DrainingError, OverloadedError
from onebit_service.metrics import Metrics
from onebit_service.scheduling.engine_thread import EngineFactory, EngineThread, Tools, WorkSource
from onebit_service.scheduling.fair_queue import FairQueue
from onebit_service.scheduling.file_turns import FileTurns
from onebit_service.scheduling.idle_work import IdleWork
from onebit_service.scheduling.intake import Intake
from onebit_service.scheduling.recent_waits import RecentWaits
from onebit_service.scheduling.work import (
    Clock,
    FileBatch,
    FileJob,
    FileQueue,
    FileRequest,
    News,
    StreamBatch,
    StreamJob,
    Waiting,
)
from onebit_service.settings import Settings

FILE_BATCH_SECONDS = 30.0
# A batch has one segment at least, whatever its length.
ONE_SEGMENT = 0.0
STREAM_BATCH = 8
TEXT_BATCH = 32


class Scheduler:
    def __init__(
        self,
        recognizer: Recognizer,
        settings: Settings,
        threads: int,
        metrics: Metrics,
        make_engine: EngineFactory = Recognizer.engine,
        clock: Clock = time.monotonic,
    ) -> None:
        self.recognizer = recognizer
        self.metrics = metrics
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._files = FairQueue(clock)
        self._file_queue = FileQueue(self._enqueue, self._forget, clock)
        self._file_turns = FileTurns(threads, clock)
        # Those that have had a turn and are not done.
        self._unfinished_files: deque[FileBatch] = deque()
        self._idle_work: deque[IdleWork] = deque()
        self._waits = RecentWaits(clock)
        self._file_jobs: set[FileJob] = set()
        self._stream_jobs: set[StreamJob] = set()
        self._stream_slots = 0
        self._intake = Intake(clock)
        self._draining = False
        self._stopped = False
        tools = Tools(recognizer, make_engine, SileroVoice(), metrics, clock)
        self._lanes = [
            EngineThread(f"engine-{lane}", tools, WorkSource(partial(self.next_batch, lane), self.finished))
            for lane in range(threads)
        ]
        self._wakeups = [threading.Condition(self._lock) for _ in self._lanes]
        self._ready: list[list[StreamJob]] = [[] for _ in self._lanes]
        self._idle: set[int] = set()
        metrics.queue_max.set(settings.max_files)
        metrics.streams_max.set(settings.max_streams)

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for wakeup in self._wakeups:
                wakeup.notify_all()
        for lane in self._lanes:
            lane.join()

    # Admission

    def begin_drain(self) -> None:
        self._draining = True

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def busy(self) -> bool:
        return bool(self._file_jobs or self._stream_slots)

    @property
    def is_stuck(self) -> bool:
        """Nothing has been let in for a minute although something was offered."""
        return self._intake.is_stuck

    @property
    def engines_alive(self) -> bool:
        return all(lane.is_alive() for lane in self._lanes)

    def submit(self, request: FileRequest) -> FileJob:
        """Lets a file in, or raises BusyError; `leave` must follow."""
        self.recognizer.require(request.bits)
        self._refuse_when_draining()
        if len(self._file_jobs) >= self._settings.max_files:
            raise self._overload(f"{len(self._file_jobs)} files are being transcribed already", 1.0)
        if (delay := self._oldest_wait()) > self._settings.queue_seconds:
            raise self._overload(f"work has been waiting for {delay:.0f} s already", min(delay, 60.0))
        self._intake.moved()
        job = FileJob(request, asyncio.get_running_loop(), self._file_queue)
        self._file_jobs.add(job)
        self.metrics.queue_depth.set(len(self._file_jobs))
        return job

    def leave(self, job: FileJob) -> None:
        """The file is done with, one way or the other."""
        self._forget(job)
        self._file_jobs.discard(job)
        self._intake.moved()
        self.metrics.queue_depth.set(len(self._file_jobs))

    @contextmanager
    def stream_slot(self) -> Iterator[None]:
        """Lets a connection in, or raises BusyError. It counts from here on, whether it says anything or not."""
        self._refuse_when_draining()
        if self._stream_slots >= self._settings.max_streams:
            raise self._overload(f"{self._stream_slots} streams are open already", 5.0)
        with self._lock:
            wait_seconds = self._waits.median_seconds()
        if wait_seconds > self._settings.max_stream_wait_seconds:
            raise self._overload(f"streams wait {wait_seconds:.2f} s for an engine already", 5.0)
        self._intake.moved()
        self._stream_slots += 1
        self.metrics.streams_active.set(self._stream_slots)
        try:
            yield
        finally:
            self._stream_slots -= 1
            self._intake.moved()
            self.metrics.streams_active.set(self._stream_slots)

    def open_stream(self, bits: int, options: LiveOptions, deliver: Callable[[News], None]) -> StreamJob:
        """Starts a stream that has a slot; `close_stream` must follow."""
        lanes = [job.lane for job in self._stream_jobs]
        number = min(range(len(self._lanes)), key=lanes.count)
        live = self._lanes[number].open_stream(bits, options)
        job = StreamJob(live, bits, number, asyncio.get_running_loop(), deliver)
        self._stream_jobs.add(job)
        return job

    def close_stream(self, job: StreamJob) -> None:
        # The job is known to engine threads for a while yet; its session, which knows the job, must not be.
        job.deliver = _to_nobody
        with self._lock:
            job.is_closed = True
            if job.is_queued:
                self._ready[job.lane].remove(job)
                job.is_queued = False
        self._stream_jobs.discard(job)

    def fail_all(self, error: BaseException) -> None:
        """Ends everything that is running; each of them answers with `error`."""
        for file_job in list(self._file_jobs):
            file_job.fail(error)
        for stream_job in list(self._stream_jobs):
            stream_job.deliver(News(error=error))

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise DrainingError("the server is shutting down", 5.0)

    def _overload(self, message: str, retry_after_seconds: float) -> OverloadedError:
        self._intake.refused()
        return OverloadedError(message, retry_after_seconds)

    def _oldest_wait(self) -> float:
        with self._lock:
            starts = [job.waiting[0].since for job in self._files.jobs()]
        return self._clock() - min(starts) if starts else 0.0

    # Work comes in

    def _enqueue(self, job: FileJob, waiting: Waiting) -> None:
        with self._lock:
            if not job.cancelled:
                if not self._files:
                    self._file_turns.begin_waiting()
                self._files.add(job, waiting)
                self._wake_any()

    def when_idle(self, work: IdleWork) -> None:
        """Computed when nothing else waits, which may be never."""
        with self._lock:
            self._idle_work.append(work)
            self._wake_any()

    def _forget(self, job: FileJob) -> None:
        with self._lock:
            self._files.remove(job)

    def look_at(self, job: StreamJob) -> None:
        """Something was pushed to the stream: it may have become ready."""
        with self._lock:
            self._queue_if_ready(job)

    def _queue_if_ready(self, job: StreamJob) -> None:
        if not (job.is_queued or job.is_running or job.is_closed) and job.live.ready:
            job.is_queued = True
            job.ready_since = self._clock()
            self._ready[job.lane].append(job)
            self._wakeups[job.lane].notify()

    def _wake_any(self) -> None:
        if self._idle:
            self._wakeups[next(iter(self._idle))].notify()

    # Work goes out, on the engine threads

    def next_batch(self, lane: int) -> StreamBatch | FileBatch | IdleWork | None:
        """Waits for work; None when the scheduler stops."""
        with self._lock:
            while not self._stopped:
                if self._ready[lane]:
                    if self._has_files and self._file_turns.is_due:
                        return self._take_files(ONE_SEGMENT)
                    return self._take_streams(lane)
                if self._has_files:
                    return self._take_files(FILE_BATCH_SECONDS)
                if self._idle_work:
                    return self._idle_work.popleft()
                self._idle.add(lane)
                self._wakeups[lane].wait()
                self._idle.discard(lane)
        return None

    def finished(self, batch: StreamBatch | FileBatch | IdleWork, seconds: float) -> None:
        """Its turn is over; what is not done gets another one."""
        with self._lock:
            if isinstance(batch, IdleWork):
                if not batch.done:
                    self._idle_work.appendleft(batch)
                return
            if isinstance(batch, FileBatch):
                self._file_turns.end(seconds)
                if not batch.done:
                    self._unfinished_files.append(batch)
                return
            for job in batch.jobs:
                job.is_running = False
                self._queue_if_ready(job)

    @property
    def _has_files(self) -> bool:
        return bool(self._unfinished_files or self._files)

    def _take_streams(self, lane: int) -> StreamBatch:
        """Of one precision: some with a chunk, one that is heard once more as a whole, and the texts that are due."""
        ready = self._ready[lane]
        bits = ready[0].bits
        limits = {"chunk": STREAM_BATCH, "whole": 1, "text": TEXT_BATCH}
        taken = []
        for job in ready:
            if job.bits == bits and limits[job.live.due] > 0:
                limits[job.live.due] -= 1
                taken.append(job)
        now = self._clock()
        for job in taken:
            ready.remove(job)
            job.is_queued, job.is_running = False, True
            self._waits.add(now - job.ready_since)
            self.metrics.queue_wait.labels("stream").observe(now - job.ready_since)
        return StreamBatch(bits, taken)

    def _take_files(self, seconds: float) -> FileBatch:
        self._file_turns.begin()
        if self._unfinished_files:
            return self._unfinished_files.popleft()
        taken = self._files.take(seconds)
        now = self._clock()
        for _, waiting in taken:
            self.metrics.queue_wait.labels("file").observe(now - waiting.since)
        if self._files:
            self._wake_any()
        return FileBatch(taken[0][0].request, taken)


def _to_nobody(_: News) -> None:
    pass
