"""Twice as many as fit: who is let in is served, who is not learns it at once and when to come back."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from websockets.asyncio.client import connect

from onebit_service.scheduling.work import FileJob, FileRequest
from onebit_service.server.application import create_app
from onebit_service.settings import Settings

CAPACITY = 8
REFUSALS = 40
# The promise; a machine that does other things as well may break it now and then, and hardly by more than this.
REFUSAL_SECONDS = 0.1
PATIENCE = 5


async def live_seconds(http: httpx.AsyncClient, url: str) -> float:
    """What the machine takes for an answer that costs nothing."""
    begin = time.monotonic()
    assert (await http.get(f"{url}/health/live")).status_code == 200
    return time.monotonic() - begin


def assert_prompt(seconds: list[float], live: list[float]) -> None:
    """Beside what any answer takes just then."""
    times, others = sorted(seconds), sorted(live)
    assert times[len(times) * 9 // 10] < REFUSAL_SECONDS + others[len(others) * 9 // 10], (times, others)
    assert times[-1] < PATIENCE * REFUSAL_SECONDS + others[-1], (times, others)


@pytest.fixture(scope="module")
def small(start_server: Any) -> Iterator[Any]:
    settings = {"max_files": CAPACITY, "max_streams": CAPACITY, "reference_interval_seconds": 0}
    with start_server(**settings) as running:
        yield running


async def test_files(small: Any, clip: Any) -> None:
    """Uploads that are there together until all others have been refused."""
    data = clip.encoded()
    all_refused = asyncio.Event()

    async def slow_upload(http: httpx.AsyncClient) -> httpx.Response:
        async def body() -> Any:
            yield data[: len(data) // 2]
            await all_refused.wait()
            yield data[len(data) // 2 :]

        return await http.post(f"{small.url}/transcribe?bits=1", content=body())

    async def refused_seconds(http: httpx.AsyncClient) -> float:
        begin = time.monotonic()
        answer = await http.post(f"{small.url}/transcribe?bits=1", content=data)
        seconds = time.monotonic() - begin
        assert answer.status_code == 503, answer.text
        assert answer.json()["error"]["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
        return seconds

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as http:
        admitted = [asyncio.create_task(slow_upload(http)) for _ in range(CAPACITY)]
        while small.gauge("asr_queue_depth") < CAPACITY:
            await asyncio.sleep(0.02)
        times, live = [], []
        for _ in range(REFUSALS):
            times.append(await refused_seconds(http))
            live.append(await live_seconds(http, small.url))
        assert small.gauge("asr_queue_depth") == CAPACITY
        all_refused.set()
        answers = await asyncio.gather(*admitted)
    assert_prompt(times, live)
    assert [answer.status_code for answer in answers] == [200] * CAPACITY
    assert len({answer.json()["text"] for answer in answers}) == 1


async def test_a_short_file_beside_long_ones_of_another_client(start_server: Any, clip: Any) -> None:
    """Five minutes of audio each, of one client: the other's short file waits for hardly more than its turn."""
    long = clip.pcm * int(300 / clip.seconds)
    with start_server(api_keys="one,two", reference_interval_seconds=0) as shared:

        async def text(http: httpx.AsyncClient, key: str, pcm: bytes) -> tuple[str, float]:
            headers = {"authorization": f"Bearer {key}", "content-type": "audio/L16; rate=16000"}
            begin = time.monotonic()
            answer = await http.post(f"{shared.url}/transcribe?bits=1", content=pcm, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.json()["text"], time.monotonic() - begin

        async with httpx.AsyncClient(timeout=120) as http:
            alone, _ = await text(http, "two", clip.pcm)
            files = [asyncio.create_task(text(http, "one", long)) for _ in range(4)]
            while 'asr_queue_wait_seconds_count{kind="file"} 1.0' in shared.metrics():
                await asyncio.sleep(0.02)
            beside, seconds = await text(http, "two", clip.pcm)
            assert not any(file.done() for file in files)
            long_seconds = [seconds for _, seconds in await asyncio.gather(*files)]
        assert beside == alone
        assert seconds < min(long_seconds) / 4


class HeldEngine:
    """The real engine, whose steps wait until the test lets them go."""

    def __init__(self, engine: Any, let_go: threading.Event) -> None:
        self.open = engine.open
        self.bits, self.exact = engine.bits, engine.exact
        self.entered = threading.Event()
        self._engine = engine
        self._let_go = let_go

    def step(self, streams: Any) -> None:
        self.entered.set()
        self._let_go.wait()
        self._engine.step(streams)


def test_a_file_that_no_engine_has_time_for_is_given_up(model_file: Any, clip: Any) -> None:
    """The first file takes the only engine for longer than the second one may wait."""
    settings = Settings(
        model=str(model_file), engine_threads=1, max_file_wait_seconds=0.5, reference_interval_seconds=0
    )
    let_go = threading.Event()
    engines: dict[int, HeldEngine] = {}

    def held(recognizer: Any, bits: int) -> Any:
        engines[bits] = HeldEngine(recognizer.engine(bits), let_go)
        return engines[bits]

    with TestClient(create_app(settings, held)) as http, ThreadPoolExecutor() as pool:
        while http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        first = pool.submit(http.post, "/transcribe?bits=1", content=clip.encoded())
        engines[1].entered.wait()
        for path, options in (
            ("/transcribe?bits=4", {"content": clip.encoded()}),
            ("/v1/audio/transcriptions", {"data": {"model": "onebit-1bit"}, "files": {"file": clip.encoded()}}),
        ):
            begin = time.monotonic()
            second = http.post(path, **options)  # type: ignore[arg-type]
            assert time.monotonic() - begin > 0.4
            assert second.status_code == 503, second.text
            assert second.json()["error"]["code"] == "overloaded"
            assert int(second.headers["retry-after"]) >= 1
            assert not first.done()
        let_go.set()
        assert first.result().status_code == 200
        assert http.get("/metrics").text.count("asr_queue_depth 0.0") == 1


def opened(url: str) -> connect:
    return connect(url, subprotocols=["onebit.v1"], compression=None)  # type: ignore[list-item]


async def final_seconds(url: str, data: bytes, may_stop: asyncio.Event) -> float:
    """In real time, with silence after the clip for as long as it takes; from `stop` to `done`."""
    async with opened(url) as stream:
        await stream.send(json.dumps({"type": "start", "bits": 1}))
        assert json.loads(await stream.recv())["type"] == "ready"
        for start in range(0, len(data), 3200):
            await stream.send(data[start : start + 3200])
            await asyncio.sleep(0.1)
        while not may_stop.is_set():
            await stream.send(bytes(3200))
            await asyncio.sleep(0.1)
        begin = time.monotonic()
        await stream.send(json.dumps({"type": "stop"}))
        while json.loads(await stream.recv())["type"] != "done":
            pass
        return time.monotonic() - begin


async def refused_stream_seconds(url: str) -> float:
    begin = time.monotonic()
    async with opened(url) as stream:
        error = json.loads(await stream.recv())
        await stream.wait_closed()
        seconds = time.monotonic() - begin
        assert (error["type"], error["code"]) == ("error", "overloaded")
        assert error["retry_after_seconds"] > 0
        assert stream.close_code == 1013
        return seconds


async def test_streams(small: Any, clip: Any) -> None:
    may_stop = asyncio.Event()
    admitted = [asyncio.create_task(final_seconds(small.stream_url, clip.pcm, may_stop)) for _ in range(CAPACITY)]
    while small.gauge("asr_streams_active") < CAPACITY:
        await asyncio.sleep(0.02)
    times, live = [], []
    async with httpx.AsyncClient(timeout=60) as http:
        for _ in range(REFUSALS):
            times.append(await refused_stream_seconds(small.stream_url))
            live.append(await live_seconds(http, small.url))
    assert small.gauge("asr_streams_active") == CAPACITY
    may_stop.set()
    assert max(await asyncio.gather(*admitted)) < PATIENCE * 0.3
    assert_prompt(times, live)
    assert small.gauge("asr_streams_active") == 0


def test_a_server_whose_places_are_all_held_is_not_ready(model_file: Any, clip: Any) -> None:
    """For a minute; with the first place that comes back it is ready again."""
    now = 100.0
    settings = Settings(model=str(model_file), max_files=1, engine_threads=1, reference_interval_seconds=0)
    with TestClient(create_app(settings, clock=lambda: now)) as http:
        while http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        scheduler = http.app.state.service.scheduler  # type: ignore[attr-defined]

        async def take() -> FileJob:
            return scheduler.submit(FileRequest("somebody", 1))

        assert http.portal is not None
        held = http.portal.call(take)
        for status in (200, 503):
            assert http.post("/transcribe", content=clip.encoded()).status_code == 503
            answer = http.get("/health/ready")
            assert answer.status_code == status
            now += 60
        assert answer.json()["error"]["code"] == "overloaded"
        http.portal.call(scheduler.leave, held)
        assert http.get("/health/ready").status_code == 200
