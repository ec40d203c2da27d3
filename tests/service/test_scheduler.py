"""Who is computed next, on the real engine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onebit_model.recognition.live import Final, LiveOptions
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segmentation import AudioSegment
from onebit_service.errors import DrainingError, OverloadedError
from onebit_service.metrics import Metrics
from onebit_service.scheduling import file_turns, recent_waits
from onebit_service.scheduling.fair_queue import FairQueue
from onebit_service.scheduling.file_turns import FileTurns
from onebit_service.scheduling.recent_waits import RecentWaits
from onebit_service.scheduling.scheduler import Scheduler
from onebit_service.scheduling.work import PENDING_SEGMENTS, FileRequest, News, StreamJob
from onebit_service.settings import Settings

RATE = 16_000


@pytest.fixture
def scheduler(recognizer: Recognizer) -> Iterator[Scheduler]:
    running = Scheduler(recognizer, Settings(max_files=4, max_streams=2), 1, Metrics())
    running.start()
    yield running
    running.stop()


def noise(seconds: float) -> AudioSegment:
    return AudioSegment(np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype(np.float32), 0)


class FileInQueue:
    """What a queue sees of a file."""

    def __init__(self, client: str, bits: int) -> None:
        self.name = client
        self.request = FileRequest(client, bits)
        self.waiting: deque[Any] = deque()


def job(client: str, bits: int = 1) -> Any:
    return FileInQueue(client, bits)


def put(queue: FairQueue, file: Any, *seconds: float) -> None:
    for index, length in enumerate(seconds):
        queue.add(file, (index, noise(length), 0.0))


def test_clients_take_turns() -> None:
    queue = FairQueue()
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


def test_short_segments_of_one_precision_go_together() -> None:
    queue = FairQueue()
    files = [job("a"), job("b"), job("c", bits=4), job("d")]
    for file in files:
        put(queue, file, 8)
    assert [file.name for file, _ in queue.take(30)] == ["a", "b", "d"]
    assert [file.name for file, _ in queue.take(30)] == ["c"]
    assert not queue


def test_a_removed_file_is_gone() -> None:
    queue = FairQueue()
    first, second = job("a"), job("a")
    put(queue, first, 5)
    put(queue, second, 5)
    queue.remove(first)
    assert [file for file, _ in queue.take(30)] == [second]
    queue.remove(first)
    assert not queue


async def test_a_short_file_is_not_stuck_behind_a_long_one(scheduler: Scheduler) -> None:
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
    begin = time.monotonic()
    short = scheduler.submit(FileRequest("other", 4))
    await asyncio.to_thread(short.submit, noise(2))
    short.end()
    found = [segment async for segment in short.segments()]
    waited = time.monotonic() - begin
    one_segment = long.processing_seconds / max(1, len(long._done) + 1)
    assert len(found) == 1
    assert waited < 4 * one_segment + 0.5
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


def test_turns_of_files_take_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(file_turns.time, "monotonic", lambda: now)
    turns = FileTurns(engines=2)
    turns.begin_waiting()
    assert not turns.is_due
    now += file_turns.PATIENCE_SECONDS
    assert turns.is_due
    turns.begin()
    now += 3
    assert not turns.is_due
    turns.end(3)
    now += 3 * (1 / (2 * file_turns.FILE_SHARE) - 1) - 0.1
    assert not turns.is_due
    now += 0.2
    assert turns.is_due


class StreamWithoutEnd:
    """A stream that always has a chunk ready."""

    ready = True
    stopped = False

    def prepare(self) -> bool:
        time.sleep(0.002)
        return False

    def advance(self) -> list[Any]:
        return []


async def test_files_get_on_although_streams_take_all_the_time(scheduler: Scheduler) -> None:
    live: Any = StreamWithoutEnd()
    steps = 0

    def count(news: News) -> None:
        nonlocal steps
        steps += 1

    stream = StreamJob(live, 1, 0, asyncio.get_running_loop(), count)
    scheduler.look_at(stream)
    file = scheduler.submit(FileRequest("somebody", 1))
    begin = time.monotonic()
    for _ in range(3):
        await asyncio.to_thread(file.submit, noise(2))
    file.end()
    found = [segment async for segment in file.segments()]
    seconds = time.monotonic() - begin
    assert len(found) == 3
    # The first had to wait, the others rested; nearly all of the time went to the stream.
    assert seconds > file_turns.PATIENCE_SECONDS
    assert file.processing_seconds < 0.2 * seconds
    assert steps > 50
    scheduler.close_stream(stream)
    scheduler.leave(file)


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


async def test_streams_that_wait_keep_new_ones_out(scheduler: Scheduler) -> None:
    for _ in range(recent_waits.ENOUGH_WAITS):
        scheduler._waits.add(0.5)
    with pytest.raises(OverloadedError, match="wait"), scheduler.stream_slot():
        pass


def test_recent_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(recent_waits.time, "monotonic", lambda: now)
    waits = RecentWaits()
    for seconds in [0.1] * 30 + [9.0] * 10:
        waits.add(seconds)
    assert waits.median_seconds() == 0.1
    now += 2 * recent_waits.WINDOW_SECONDS
    assert waits.median_seconds() == 0


async def test_a_failing_engine_ends_its_work_and_not_the_thread(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    file = scheduler.submit(FileRequest("a", 1))
    with monkeypatch.context() as patch:
        patch.setattr(scheduler.recognizer, "recognize", broken)
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
