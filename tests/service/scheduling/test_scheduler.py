"""Who is computed next, on the real engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from onebit_kernels import Engine
from onebit_model.recognition.live import Final, LiveOptions
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segmentation import AudioSegment
from onebit_model.text.search import GREEDY
from onebit_service.errors import DrainingError, OverloadedError
from onebit_service.metrics import Metrics
from onebit_service.scheduling import file_turns, intake, recent_waits
from onebit_service.scheduling import scheduler as scheduler_module
from onebit_service.scheduling.fair_queue import FairQueue
from onebit_service.scheduling.file_turns import FileTurns
from onebit_service.scheduling.idle_work import IdleWork
from onebit_service.scheduling.recent_waits import RecentWaits
from onebit_service.scheduling.scheduler import Scheduler
from onebit_service.scheduling.work import (
    PENDING_SEGMENTS,
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

RATE = 16_000


class Clock:
    """Stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TimedEngine:
    """The real engine, whose steps take one time on the clock."""

    def __init__(self, engine: Engine, clock: Clock, seconds: float) -> None:
        self._engine = engine
        self._clock = clock
        self._seconds = seconds
        self.bits, self.exact = engine.bits, engine.exact

    def open(self, *arguments: Any, **options: Any) -> Any:
        return self._engine.open(*arguments, **options)

    def step(self, streams: Any) -> None:
        self._engine.step(streams)
        self._clock.now += self._seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


STEP_SECONDS = 1.0


@pytest.fixture
def resting(recognizer: Recognizer, clock: Clock) -> Scheduler:
    """Its threads have not been started: the test takes the batches."""

    def timed(made_by: Recognizer, bits: int) -> Any:
        return TimedEngine(made_by.engine(bits), clock, STEP_SECONDS)

    return Scheduler(recognizer, Settings(max_files=4, max_streams=2), 1, Metrics(), timed, clock)


@contextmanager
def started(scheduler: Scheduler) -> Iterator[Scheduler]:
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


@pytest.fixture
def scheduler(resting: Scheduler) -> Iterator[Scheduler]:
    with started(resting) as running:
        yield running


def noise(seconds: float) -> AudioSegment:
    return AudioSegment(np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype(np.float32), 0)


def job(client: str, bits: int = 1) -> FileJob:
    """A file that is put into queues by the test itself."""
    nowhere = FileQueue(lambda *_: None, lambda *_: None, Clock())
    return FileJob(FileRequest(client, bits), asyncio.get_running_loop(), nowhere)


def put(queue: FairQueue, file: FileJob, *seconds: float) -> None:
    for index, length in enumerate(seconds):
        queue.add(file, Waiting(index, noise(length), 0.0))


async def test_clients_take_turns() -> None:
    queue = FairQueue(Clock())
    greedy = [job("greedy") for _ in range(3)]
    modest = job("modest")
    for file in greedy:
        put(queue, file, 30, 30)
    put(queue, modest, 30, 30)
    order = []
    while queue:
        ((file, _),) = queue.take(30)
        order.append("modest" if file is modest else greedy.index(file))
    assert order[:4].count("modest") == 2
    assert sorted(n for n in order if n != "modest") == [0, 0, 1, 1, 2, 2]
    assert [n for n in order if n != "modest"][:3] == [0, 1, 2]


async def test_short_segments_of_one_precision_go_together() -> None:
    queue = FairQueue(Clock())
    files = [job("a"), job("b"), job("c", bits=4), job("d")]
    for file in files:
        put(queue, file, 8)
    assert [file.request.client for file, _ in queue.take(30)] == ["a", "b", "d"]
    assert [file.request.client for file, _ in queue.take(30)] == ["c"]
    assert not queue


async def test_a_removed_file_is_gone() -> None:
    queue = FairQueue(Clock())
    first, second = job("a"), job("a")
    put(queue, first, 5)
    put(queue, second, 5)
    queue.remove(first)
    assert [file for file, _ in queue.take(30)] == [second]
    queue.remove(first)
    assert not queue


async def test_a_short_file_is_not_stuck_behind_a_long_one(scheduler: Scheduler, clock: Clock) -> None:
    long = scheduler.submit(FileRequest("somebody", 4))
    stop = threading.Event()

    def feed() -> None:
        try:
            while not stop.is_set():
                long.submit(noise(20))
        except RuntimeError:
            pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    await anext(long.segments())
    begin = clock.now
    short = scheduler.submit(FileRequest("other", 4))
    await asyncio.to_thread(short.submit, noise(2))
    short.end()
    found = [segment async for segment in short.segments()]
    waited = clock.now - begin
    assert len(found) == 1
    assert waited < 4 * STEP_SECONDS
    stop.set()
    long.fail(RuntimeError())
    await asyncio.to_thread(feeder.join)
    for file in (short, long):
        scheduler.leave(file)
    assert not scheduler.busy


async def test_a_stream_comes_before_files(scheduler: Scheduler, clip: Any) -> None:
    files = [scheduler.submit(FileRequest(f"client {n}", 4)) for n in range(4)]
    for file in files:
        for _ in range(PENDING_SEGMENTS):
            await asyncio.to_thread(file.submit, noise(20))
    news: asyncio.Queue[News] = asyncio.Queue()
    with scheduler.stream_slot():
        stream = scheduler.open_stream(1, LiveOptions(), news.put_nowait)
        stream.live.push(clip.samples)
        stream.live.stop()
        scheduler.look_at(stream)
        finals = []
        while not finals:
            finals = [event for event in (await news.get()).events if isinstance(event, Final)]
        assert sum(len(file.waiting) for file in files) >= 2 * PENDING_SEGMENTS
        scheduler.close_stream(stream)
    for file in files:
        file.fail(RuntimeError())
        scheduler.leave(file)


def test_turns_of_files_take_their_share(clock: Clock) -> None:
    turns = FileTurns(2, clock)
    turns.begin_waiting()
    assert not turns.is_due
    clock.now += file_turns.PATIENCE_SECONDS
    assert turns.is_due
    turns.begin()
    clock.now += 3
    assert not turns.is_due
    turns.end(3)
    clock.now += 3 * (1 / (2 * file_turns.FILE_SHARE) - 1) - 0.1
    assert not turns.is_due
    clock.now += 0.2
    assert turns.is_due


class StreamWithoutEnd:
    """A stream that always has a chunk ready, and whose chunks take 10 ms."""

    ready = True
    stopped = False
    due = "chunk"
    decoding = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def prepare(self) -> bool:
        self._clock.now += 0.01
        return False

    def advance(self) -> list[Any]:
        return []


async def test_files_get_on_although_streams_take_all_the_time(resting: Scheduler, clock: Clock) -> None:
    live: Any = StreamWithoutEnd(clock)
    steps = 0

    def count(news: News) -> None:
        nonlocal steps
        steps += 1

    stream = StreamJob(live, 1, 0, asyncio.get_running_loop(), count)
    resting.look_at(stream)
    file = resting.submit(FileRequest("somebody", 1))
    begin = clock.now
    for _ in range(3):
        file.submit(noise(2))
    file.end()
    with started(resting):
        found = [segment async for segment in file.segments()]
        seconds = clock.now - begin
        assert len(found) == 3
        # The first had to wait, the others rested; nearly all of the time went to the stream.
        assert seconds > file_turns.PATIENCE_SECONDS
        assert file.processing_seconds < 0.2 * seconds
        assert steps > 50
        resting.close_stream(stream)
        resting.leave(file)


async def test_admission(scheduler: Scheduler) -> None:
    files = [scheduler.submit(FileRequest("a", 1)) for _ in range(4)]
    with pytest.raises(OverloadedError):
        scheduler.submit(FileRequest("b", 1))
    scheduler.leave(files[0])
    scheduler.leave(scheduler.submit(FileRequest("b", 1)))
    with scheduler.stream_slot(), scheduler.stream_slot():
        with pytest.raises(OverloadedError), scheduler.stream_slot():
            pass
        assert scheduler.busy
    scheduler.begin_drain()
    with pytest.raises(DrainingError):
        scheduler.submit(FileRequest("b", 1))
    with pytest.raises(DrainingError), scheduler.stream_slot():
        pass
    for file in files[1:]:
        scheduler.leave(file)
    assert not scheduler.busy


async def test_streams_that_wait_keep_new_ones_out(resting: Scheduler, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(recent_waits.ENOUGH_WAITS):
        live: Any = StreamWithoutEnd(clock)
        resting.look_at(StreamJob(live, 1, 0, loop, lambda _: None))
    clock.now += 0.5
    for _ in range(recent_waits.ENOUGH_WAITS // scheduler_module.STREAM_BATCH + 1):
        assert isinstance(resting.next_batch(0), StreamBatch)
    with pytest.raises(OverloadedError, match="wait"), resting.stream_slot():
        pass


def test_recent_waits(clock: Clock) -> None:
    waits = RecentWaits(clock)
    for seconds in [0.1] * 30 + [9.0] * 10:
        waits.add(seconds)
    assert waits.median_seconds() == 0.1
    clock.now += 2 * recent_waits.WINDOW_SECONDS
    assert waits.median_seconds() == 0


class FailingEngine:
    """The real engine, whose first step fails."""

    def __init__(self, engine: Engine) -> None:
        self.open = engine.open
        self.bits, self.exact = engine.bits, engine.exact
        self._step: Callable[[Any], None] = engine.step
        self._failures = 1

    def step(self, streams: Any) -> None:
        if self._failures:
            self._failures -= 1
            raise RuntimeError("broken")
        self._step(streams)


async def test_a_failing_engine_ends_its_work_and_not_the_thread(recognizer: Recognizer) -> None:
    def failing(made_by: Recognizer, bits: int) -> Any:
        return FailingEngine(made_by.engine(bits))

    with started(Scheduler(recognizer, Settings(), 1, Metrics(), failing)) as scheduler:
        file = scheduler.submit(FileRequest("a", 1))
        await asyncio.to_thread(file.submit, noise(1))
        with pytest.raises(Exception, match="engine failed"):
            await anext(file.segments())
        scheduler.leave(file)
        again = scheduler.submit(FileRequest("a", 1))
        await asyncio.to_thread(again.submit, noise(1))
        again.end()
        assert len([segment async for segment in again.segments()]) == 1
        scheduler.leave(again)
        assert scheduler.engines_alive


async def test_what_is_unfinished_comes_again_but_after_streams(
    resting: Scheduler, recognizer: Recognizer, clip: Any
) -> None:
    file = resting.submit(FileRequest("a", 1))
    file.submit(noise(1))
    begun = resting.next_batch(0)
    assert isinstance(begun, FileBatch)
    file.submit(noise(1))
    resting.finished(begun, 0.01)
    stream = resting.open_stream(1, LiveOptions(), lambda _: None)
    stream.live.push(clip.samples)
    resting.look_at(stream)
    assert isinstance(resting.next_batch(0), StreamBatch)
    assert resting.next_batch(0) is begun
    other = resting.next_batch(0)
    assert isinstance(other, FileBatch)
    resting.finished(other, 0.01)
    idle = IdleWork(recognizer.bits[0], [noise(1)], recognizer.search())
    resting.when_idle(idle)
    file.fail(RuntimeError("its client has left"))
    resting.finished(begun, 0.01)
    assert resting.next_batch(0) is other, "it was not known yet that nobody wants it"
    resting.finished(other, 0.01)
    assert resting.next_batch(0) is idle
    resting.finished(idle, 0.01)
    assert resting.next_batch(0) is idle
    resting.close_stream(stream)
    resting.leave(file)


async def test_unfinished_files_get_on_although_streams_take_all_the_time(resting: Scheduler, clock: Clock) -> None:
    file = resting.submit(FileRequest("a", 1))
    file.submit(noise(1))
    begun = resting.next_batch(0)
    assert isinstance(begun, FileBatch)
    resting.finished(begun, 0.01)
    live: Any = StreamWithoutEnd(clock)
    stream = StreamJob(live, 1, 0, asyncio.get_running_loop(), lambda _: None)
    resting.look_at(stream)
    turns = []
    for _ in range(100):
        batch = resting.next_batch(0)
        assert isinstance(batch, StreamBatch | FileBatch)
        clock.now += 0.01
        resting.finished(batch, 0.01)
        turns.append(batch is begun)
    assert 3 <= sum(turns) <= 6, "one twentieth of the time"
    resting.leave(file)


async def test_requests_come_before_idle_work(resting: Scheduler, recognizer: Recognizer, clip: Any) -> None:
    """It is asked for first, but the engine takes what else there is before it."""
    resting.when_idle(IdleWork(recognizer.bits[0], [], GREEDY))
    file = resting.submit(FileRequest("a", 1))
    file.submit(noise(1))
    stream = resting.open_stream(1, LiveOptions(), lambda _: None)
    stream.live.push(clip.samples)
    resting.look_at(stream)
    kinds = [type(resting.next_batch(0)) for _ in range(3)]
    assert kinds == [StreamBatch, FileBatch, IdleWork]
    resting.close_stream(stream)
    resting.leave(file)


async def test_a_server_that_lets_nothing_in_is_stuck(resting: Scheduler, clock: Clock) -> None:
    """Until something comes to its end; not while nobody asks, and not while something is let in."""
    files = [resting.submit(FileRequest("a", 1)) for _ in range(4)]
    clock.now += 2 * intake.STUCK_SECONDS
    assert not resting.is_stuck
    for _ in range(2):
        with pytest.raises(OverloadedError):
            resting.submit(FileRequest("b", 1))
        clock.now += 0.6 * intake.STUCK_SECONDS
    assert resting.is_stuck
    with resting.stream_slot():
        assert not resting.is_stuck
    with pytest.raises(OverloadedError):
        resting.submit(FileRequest("b", 1))
    clock.now += intake.STUCK_SECONDS
    assert resting.is_stuck
    resting.leave(files[0])
    assert not resting.is_stuck
    for file in files[1:]:
        resting.leave(file)
