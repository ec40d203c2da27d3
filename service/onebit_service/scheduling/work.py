"""What the engine threads are given: segments of files, and streams with a chunk ready."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from onebit_model.config import WHOLE_SEGMENT, Chunk
from onebit_model.recognition.live import Event, LiveStream
from onebit_model.recognition.segment import Segment
from onebit_model.recognition.segment_batch import SegmentBatch
from onebit_model.recognition.segmentation import AudioSegment
from onebit_model.text.search import GREEDY, Search
from onebit_service.scheduling.event_loop import call_on_loop

PENDING_SEGMENTS = 4

Clock = Callable[[], float]
"""Seconds from any moment on; never backwards."""


@dataclass(frozen=True)
class FileRequest:
    """Who wants a file transcribed, and how."""

    client: str
    bits: int
    chunk: Chunk = WHOLE_SEGMENT
    search: Search = GREEDY


@dataclass(frozen=True)
class Waiting:
    """A segment of a file that no engine has taken yet, by its number in the file."""

    index: int
    segment: AudioSegment
    since: float


@dataclass(frozen=True)
class FileQueue:
    """Where a file's segments go, what forgets them, and the clock that they wait by."""

    enqueue: Callable[[FileJob, Waiting], None]
    forget: Callable[[FileJob], None]
    clock: Clock


class FileJob:
    """One file on its way through the engines: segments in at one end, their words out at the other, in order.

    `submit` is called by the thread that decodes the file and waits while enough of it is in the queue already.
    """

    def __init__(self, request: FileRequest, loop: asyncio.AbstractEventLoop, queue: FileQueue) -> None:
        self.request = request
        self.processing_seconds = 0.0
        self.waiting: deque[Waiting] = deque()
        # Of its latest turn, or of the first segment that waits.
        self.waiting_since = 0.0
        self._queue = queue
        self.loop = loop
        self._changed = threading.Condition()
        self._submitted = 0
        self._unfinished = 0
        self._ended = False
        self._error: BaseException | None = None
        self._done: dict[int, Segment] = {}
        self._news = asyncio.Event()
        self.failed = asyncio.Event()

    @property
    def cancelled(self) -> bool:
        return self._error is not None

    @property
    def waited_seconds(self) -> float:
        """How long no engine has had time for it although something is ready."""
        return self._queue.clock() - self.waiting_since if self.waiting else 0.0

    # The decoding thread

    def submit(self, segment: AudioSegment) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._unfinished < PENDING_SEGMENTS or self._error is not None)
            self.raise_error()
            index = self._submitted
            self._submitted += 1
            self._unfinished += 1
        self._queue.enqueue(self, Waiting(index, segment, self._queue.clock()))

    def end(self) -> None:
        """No more segments."""
        self._ended = True
        call_on_loop(self.loop, self._news.set)

    # The engine thread

    def finish(self, index: int, segment: Segment, seconds: float) -> None:
        with self._changed:
            self._unfinished -= 1
            self._done[index] = segment
            self.processing_seconds += seconds
            self._changed.notify_all()

    def wake(self) -> None:
        """On the event loop, once for all that an engine step finished."""
        self._news.set()

    # The event loop

    def fail(self, error: BaseException) -> None:
        """Ends the job wherever it is; safe from every thread."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
        self._queue.forget(self)
        call_on_loop(self.loop, self._tell_of_failure)

    def _tell_of_failure(self) -> None:
        self.failed.set()
        self._news.set()

    async def segments(self) -> AsyncIterator[Segment]:
        for index in itertools.count():
            while index not in self._done:
                self.raise_error()
                if self._ended and index >= self._submitted:
                    return
                await self._news.wait()
                self._news.clear()
            yield self._done.pop(index)

    def raise_error(self) -> None:
        """What ended the job, if anything has."""
        if self._error is not None:
            raise self._error


@dataclass(frozen=True)
class News:
    """What one engine step brought for a stream, as it was right after that step: later ones may be under way."""

    events: list[Event] = field(default_factory=list)
    stopped: bool = False
    error: BaseException | None = None


@dataclass(eq=False)
class StreamJob:
    """One live stream in the hands of one engine thread. `deliver` runs on the event loop."""

    live: LiveStream
    bits: int
    lane: int
    loop: asyncio.AbstractEventLoop
    deliver: Callable[[News], None]
    processing_seconds: float = 0.0
    ready_since: float = 0.0
    is_queued: bool = False
    is_running: bool = False
    is_closed: bool = False


@dataclass(frozen=True)
class StreamBatch:
    """Streams of one precision that step together."""

    bits: int
    jobs: list[StreamJob]


@dataclass(eq=False)
class FileBatch:
    """Segments of one kind, each with the file that it is of. Between its turns any thread may have it."""

    request: FileRequest
    items: list[tuple[FileJob, Waiting]]
    running: SegmentBatch | None = None
    seconds: float = 0.0

    @property
    def cancelled(self) -> bool:
        return all(job.cancelled for job, _ in self.items)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to compute."""
        return self.cancelled or (self.running is not None and self.running.done)
