"""Twice as many as fit: who is let in is served, who is not learns it at once and when to come back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

CAPACITY = 8
REFUSALS = 40
# The promise; a machine that does other things as well may break it now and then, and hardly by more than this.
REFUSAL_SECONDS = 0.1
PATIENCE = 5


def assert_prompt(seconds: list[float]) -> None:
    times = sorted(seconds)
    assert times[len(times) * 9 // 10] < REFUSAL_SECONDS, times
    assert times[-1] < PATIENCE * REFUSAL_SECONDS, times


@pytest.fixture(scope="module")
def small(start_server: Any) -> Iterator[Any]:
    settings = {"max_files": CAPACITY, "max_streams": CAPACITY, "reference_interval_seconds": 0}
    with start_server(**settings) as running:
        yield running


async def test_files(small: Any, clip: Any) -> None:
    """Uploads that take a second each, so that they are there together; the others come while these are computed."""
    data = clip.encoded()

    async def slow_upload(http: httpx.AsyncClient) -> httpx.Response:
        async def body() -> Any:
            for part in range(30):
                yield data[part * len(data) // 30 : (part + 1) * len(data) // 30]
                await asyncio.sleep(0.1)

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
        times = [await refused_seconds(http) for _ in range(REFUSALS)]
        assert small.gauge("asr_queue_depth") == CAPACITY
        answers = await asyncio.gather(*admitted)
    assert_prompt(times)
    assert [answer.status_code for answer in answers] == [200] * CAPACITY
    assert len({answer.json()["text"] for answer in answers}) == 1


def opened(url: str) -> connect:
    return connect(url, subprotocols=["onebit.v1"], compression=None)  # type: ignore[list-item]


async def final_seconds(url: str, data: bytes) -> float:
    """Real time; from `stop` to `done`."""
    async with opened(url) as stream:
        await stream.send(json.dumps({"type": "start", "bits": 1}))
        assert json.loads(await stream.recv())["type"] == "ready"
        for start in range(0, len(data), 3200):
            await stream.send(data[start : start + 3200])
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
    admitted = [asyncio.create_task(final_seconds(small.stream_url, clip.pcm)) for _ in range(CAPACITY)]
    while small.gauge("asr_streams_active") < CAPACITY:
        await asyncio.sleep(0.02)
    times = [await refused_stream_seconds(small.stream_url) for _ in range(REFUSALS)]
    assert small.gauge("asr_streams_active") == CAPACITY
    assert max(await asyncio.gather(*admitted)) < PATIENCE * 0.3
    assert_prompt(times)
    assert small.gauge("asr_streams_active") == 0
