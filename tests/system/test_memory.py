"""What the service holds: idle, with streams, and after they have left."""

from __future__ import annotations

import asyncio
import time

import psutil
import pytest
from loadtests.server import Server, server_under_test
from loadtests.speech import pcm_clips
from loadtests.wire import connect, frame, text_frame

MEGABYTE = 1e6
STREAMS = 40
PACKET_BYTES = 3200

pytestmark = pytest.mark.timeout(300)


def resident(server: Server) -> float:
    assert server.process is not None
    return float(psutil.Process(server.process.pid).memory_info().rss) / MEGABYTE


async def talk(server: Server, pcm: bytes, seconds: float, ended: asyncio.Event) -> None:
    wire = await connect(server.address, lambda *_: None)
    wire.send(text_frame(type="start", bits=1))
    for at in range(0, int(seconds * 32_000), PACKET_BYTES):
        wire.send(frame(pcm[at : at + PACKET_BYTES]))
        await asyncio.sleep(0.1)
    await ended.wait()
    wire.transport.abort()


async def test_idle_with_streams_and_idle_again() -> None:
    with server_under_test(None, reference_interval_seconds=0, engine_threads=2, log_level="warning") as server:
        await asyncio.sleep(1)
        idle = resident(server)
        ended = asyncio.Event()
        clip = pcm_clips(1, 8.0)[0]
        streams = [asyncio.create_task(talk(server, clip, 6.0, ended)) for _ in range(STREAMS)]
        await asyncio.sleep(8)
        each = (resident(server) - idle) / STREAMS
        ended.set()
        await asyncio.gather(*streams)
        end = time.monotonic() + 20
        while (left := resident(server) - idle) > 45 and time.monotonic() < end:
            await asyncio.sleep(0.5)
    print(f"\nidle {idle:.1f} MB, each of {STREAMS} streams {each:.2f} MB, after they left {left:+.1f} MB")
    assert idle < 160
    # With the memory that engines step in, which streams share.
    assert each < 2.3
    assert left < 45
