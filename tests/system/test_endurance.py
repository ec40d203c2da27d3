"""Long files and many connections: memory stays where it was."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect

from onebit_model.assets import SHIPPED_MODEL
from onebit_model.reference import read_set

HOURS = 2
MEGABYTE = 1e6
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Server:
    url: str
    process: psutil.Process
    log: Path
    http: httpx.Client

    @property
    def resident_bytes(self) -> int:
        return int(self.process.memory_info().rss)

    def gauge(self, name: str) -> float:
        text = self.http.get(f"{self.url}/metrics").text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found
        return float(found[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    model = str(SHIPPED_MODEL)
    command = [sys.executable, "-m", "onebit_service", "serve", "--port", str(port), "--model", model]
    log = tmp_path / "log"
    environment = os.environ | {"ONEBIT_REFERENCE_INTERVAL_SECONDS": "0"}
    with log.open("wb") as output, subprocess.Popen(command, stderr=output, env=environment) as process:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        with httpx.Client() as http:
            yield Server(url, psutil.Process(process.pid), log, http)
        process.terminate()


def speech(seconds: int) -> Iterator[bytes]:
    """WAV of so many seconds of real utterances, as if from a pipe."""
    clips = [u.audio.read() for u in read_set("librispeech-other")[:40]]
    block = (np.clip(np.concatenate(clips), -1, 1) * 32767).astype("<i2").tobytes()
    size = (0xFFFFFFFF).to_bytes(4, "little")
    yield b"RIFF" + size + b"WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data" + size
    left = seconds * 32_000
    while left > 0:
        part = block[:left]
        yield from (part[start : start + PIECE_BYTES] for start in range(0, len(part), PIECE_BYTES))
        left -= len(part)


@pytest.mark.timeout(1800)
async def test_two_hours_in_little_memory(server: Server) -> None:
    httpx.post(f"{server.url}/transcribe?bits=1", content=b"".join(speech(60)), timeout=60)
    before = peak = server.resident_bytes
    async with httpx.AsyncClient(timeout=1800) as http:

        async def upload() -> httpx.Response:
            async def body() -> AsyncIterator[bytes]:
                for piece in speech(HOURS * 3600):
                    yield piece

            return await http.post(f"{server.url}/transcribe?bits=1&timestamps=none", content=body())

        task = asyncio.create_task(upload())
        while not task.done():
            peak = max(peak, server.resident_bytes)
            await asyncio.sleep(0.05)
        answer = task.result()
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration_seconds"] == pytest.approx(HOURS * 3600, abs=5)
    growth = (peak - before) / MEGABYTE
    print(f"\n2 hours: memory grew by {growth:.0f} MB, computed in {answer.json()['processing_seconds']:.1f} s")
    assert growth < 150
    progress = [line for line in server.log.read_text().splitlines() if "transcription_progress" in line]
    assert len(progress) >= HOURS * 6 - 1


async def test_leaving_a_long_file_frees_its_worker(server: Server) -> None:
    """Although megabytes wait: the loopback's enormous send buffer is made as small as that of a network first."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    connection.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
    _, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"POST /transcribe?bits=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in speech(1800):
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    await asyncio.sleep(1.0)
    assert server.gauge("asr_queue_depth") == 1
    writer.transport.abort()
    begin = time.monotonic()
    while server.gauge("asr_queue_depth"):
        assert time.monotonic() - begin < 1.0
        await asyncio.sleep(0.01)


@pytest.mark.timeout(900)
async def test_ten_thousand_connections_leave_nothing(server: Server) -> None:
    url = server.url.replace("http", "ws") + "/stream"

    async def come_and_go(number: int) -> None:
        async with connect(url, subprotocols=["onebit.v1"], compression=None) as connection:  # type: ignore[list-item]
            if number % 3:
                await connection.send(json.dumps({"type": "start", "bits": 1}))
                await connection.send(bytes(640))
            if number % 3 == 2:
                connection.transport.abort()

    async def rush(connections: int) -> None:
        for start in range(0, connections, 50):
            await asyncio.gather(*(come_and_go(number) for number in range(start, start + 50)))

    async def settled_bytes() -> int:
        end = time.monotonic() + 10
        while server.gauge("asr_streams_active") and time.monotonic() < end:
            await asyncio.sleep(0.1)
        assert server.gauge("asr_streams_active") == 0
        return server.resident_bytes

    # The first thousand fill the allocator's pools once.
    await rush(1000)
    before = await settled_bytes()
    await rush(10_000)
    growth = (await settled_bytes() - before) / MEGABYTE
    print(f"\n10,000 connections: memory grew by {growth:.1f} MB")
    assert growth < 10
