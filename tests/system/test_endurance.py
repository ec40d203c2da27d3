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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect

from onebit_model.data.reference import read_set
from onebit_model.files.assets import SHIPPED_MODEL

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
        while process.poll() is None:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        with httpx.Client() as http:
            yield Server(url, psutil.Process(process.pid), log, http)
        process.terminate()


def speech(seconds: int) -> Iterator[bytes]:
    """WAV of so many seconds of real utterances with pauses, as if from a pipe."""
    pause = np.zeros(8_000, np.float32)
    clips = [part for u in read_set("librispeech-other")[:40] for part in (u.audio.read(), pause)]
    block = (np.clip(np.concatenate(clips), -1, 1) * 32767).astype("<i2").tobytes()
    size = (0xFFFFFFFF).to_bytes(4, "little")
    yield b"RIFF" + size + b"WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data" + size
    left = seconds * 32_000
    while left > 0:
        part = block[:left]
        yield from (part[start : start + PIECE_BYTES] for start in range(0, len(part), PIECE_BYTES))
        left -= len(part)


# Through libsndfile as it arrives; through ffmpeg once everything is there.
CODECS = {
    "wav": ["pcm_s16le"],
    "flac": ["flac"],
    "opus": ["libopus", "-b:a", "24k", "-compression_level", "0"],
    "mp3": ["libmp3lame", "-b:a", "32k"],
    "m4a": ["aac", "-b:a", "32k"],
}
REPEATABLE = ("mp3", "m4a")
PART_SECONDS = 600


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Two hours: ten minutes over and over, which are encoded once where the container lets packets be repeated."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "speech.wav").write_bytes(b"".join(speech(PART_SECONDS)))

    def made(name: str) -> Path:
        path = folder / f"long.{name}"
        if not path.exists():
            repeat = ("-stream_loop", str(HOURS * 3600 // PART_SECONDS - 1))
            if name in REPEATABLE:
                ffmpeg("-i", "speech.wav", "-c:a", *CODECS[name], f"part.{name}", folder=folder)
                ffmpeg(*repeat, "-i", f"part.{name}", "-c", "copy", path.name, folder=folder)
            else:
                ffmpeg(*repeat, "-i", "speech.wav", "-c:a", *CODECS[name], path.name, folder=folder)
        return path

    return made


def ffmpeg(*arguments: str, folder: Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", *arguments], cwd=folder, check=True)


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CODECS)
async def test_two_hours_in_little_memory(server: Server, long_file: Callable[[str], Path], name: str) -> None:
    path = long_file(name)
    httpx.post(f"{server.url}/transcribe?bits=1", content=b"".join(speech(60)), timeout=60)
    before = peak = server.resident_bytes
    begin = time.monotonic()
    async with httpx.AsyncClient(timeout=1800) as http:

        async def upload() -> httpx.Response:
            async def body() -> AsyncIterator[bytes]:
                for piece in pieces(path):
                    yield piece

            return await http.post(f"{server.url}/transcribe?bits=1&timestamps=none", content=body())

        task = asyncio.create_task(upload())
        while not task.done():
            peak = max(peak, server.resident_bytes)
            await asyncio.sleep(0.05)
        answer = task.result()
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration_seconds"] == pytest.approx(HOURS * 3600, abs=10)
    assert answer.json()["warnings"] == []
    assert len(answer.json()["text"]) > HOURS * 3600
    growth = (peak - before) / MEGABYTE
    print(
        f"\n2 hours of {name}, {path.stat().st_size / MEGABYTE:.0f} MB: memory grew by {growth:.0f} MB, "
        f"computed in {answer.json()['processing_seconds']:.1f} s, answered after {time.monotonic() - begin:.1f} s"
    )
    assert growth < 150
    progress = [line for line in server.log.read_text().splitlines() if "transcription_progress" in line]
    assert len(progress) >= HOURS * 6 - 1


async def small_connection(server: Server) -> asyncio.StreamWriter:
    """The loopback has an enormous send buffer, which goes before the end: it is made as small as that of a network."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    connection.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
    _, writer = await asyncio.open_connection(sock=connection)
    return writer


async def seconds_until_free(server: Server) -> float:
    begin = time.monotonic()
    while server.gauge("asr_queue_depth") or server.process.children():
        # A second is the promise; a crowded machine takes longer for what the client had sent already.
        assert time.monotonic() - begin < 2.0
        await asyncio.sleep(0.01)
    return time.monotonic() - begin


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("name", ["flac", "m4a"])
async def test_leaving_frees_the_worker(
    server: Server, long_file: Callable[[str], Path], name: str, share: float
) -> None:
    """While it is sent, and while it is computed: by libsndfile, by ffmpeg, which ends with it."""
    data = long_file(name).read_bytes()
    writer = await small_connection(server)
    head = f"POST /transcribe?bits=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data[: int(share * len(data))])
    if (name, share) == ("m4a", 1.0):
        while not server.process.children():
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.0)
    assert server.gauge("asr_queue_depth") == 1
    writer.transport.abort()
    await asyncio.sleep(0.05)
    # Those who come next get the descriptor of the connection that is gone.
    others = [await small_connection(server) for _ in range(4)]
    print(f"\n{name}, {share:.0%} sent: free after {await seconds_until_free(server):.2f} s")
    for other in others:
        other.close()


async def test_leaving_a_long_file_frees_its_worker(server: Server) -> None:
    """Although megabytes wait."""
    writer = await small_connection(server)
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


async def raw_request(server: Server, number: int) -> None:
    """Connects and leaves; asks and leaves; sends half a file and leaves; sends a file and waits for its text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    pcm = b"Content-Type: audio/L16\r\n"
    if number % 4 == 1:
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    elif number % 4 == 2:
        writer.write(
            b"POST /transcribe HTTP/1.1\r\nHost: x\r\n" + pcm + b"Content-Length: 64000\r\n\r\n" + bytes(32_000)
        )
    elif number % 4 == 3:
        writer.write(b"POST /transcribe?bits=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + pcm)
        writer.write(b"Content-Length: 3200\r\n\r\n" + bytes(3200))
        assert b" 200 " in await reader.readline()
        await reader.read()
    await asyncio.sleep(0)
    writer.transport.abort()


async def stream_and_leave(server: Server, number: int) -> None:
    url = server.url.replace("http", "ws") + "/stream"
    async with connect(url, subprotocols=["onebit.v1"], compression=None) as connection:  # type: ignore[list-item]
        if number % 3:
            await connection.send(json.dumps({"type": "start", "bits": 1}))
            await connection.send(bytes(640))
        if number % 3 == 2:
            connection.transport.abort()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("come_and_go", [stream_and_leave, raw_request])
async def test_ten_thousand_connections_leave_nothing(
    server: Server, come_and_go: Callable[[Server, int], Awaitable[None]]
) -> None:
    async def rush(connections: int) -> None:
        for start in range(0, connections, 50):
            await asyncio.gather(*(come_and_go(server, number) for number in range(start, start + 50)))

    async def settled_bytes() -> int:
        end = time.monotonic() + 10
        while (busy := server.gauge("asr_streams_active") + server.gauge("asr_queue_depth")) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        assert not busy
        return server.resident_bytes

    # The first thousand fill the allocator's pools once.
    await rush(1000)
    before = await settled_bytes()
    await rush(10_000)
    growth = (await settled_bytes() - before) / MEGABYTE
    print(f"\n10,000 connections: memory grew by {growth:.1f} MB to {server.resident_bytes / MEGABYTE:.0f} MB")
    assert growth < 10
