"""Clients that leave, on every route, whatever is being done for them: their places are free at once."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

# The promise is one second; a machine that does other things as well may take another.
FREE_SECONDS = 2.0
MAX_FILES = 6


@pytest.fixture(scope="module")
def small(start_server: Any) -> Iterator[Any]:
    settings = {"max_files": MAX_FILES, "max_streams": 4, "engine_threads": 1, "reference_interval_seconds": 0}
    with start_server(**settings) as running:
        yield running


@pytest.fixture(scope="module")
def long_pcm(clips: Any) -> bytes:
    """Five minutes of speech, s16le at 16 kHz."""
    speech = b"".join(clip.pcm for clip in clips)
    return speech * (300 * 32_000 // len(speech))


@pytest.fixture(scope="module")
def long_wav(long_pcm: bytes, encoded: Any) -> bytes:
    return bytes(encoded(np.frombuffer(long_pcm, "<i2"), 16_000))


def part(name: str, value: bytes, file_name: str = "") -> bytes:
    named = f'; filename="{file_name}"' if file_name else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


def posted(path: str, body: bytes, kind: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


FORM = "multipart/form-data; boundary=x"
OPENAI = "/v1/audio/transcriptions"
REQUESTS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda audio: posted("/transcribe?bits=4", audio, "audio/wav"),
    "form": lambda audio: posted("/transcribe", part("bits", b"4") + part("file", audio, "a.wav") + b"--x--\r\n", FORM),
    "form, file first": lambda audio: posted("/transcribe", part("file", audio, "a.wav") + b"--x--\r\n", FORM),
    "openai": lambda audio: posted(
        OPENAI, part("model", b"whisper-1") + part("file", audio, "a.wav") + b"--x--\r\n", FORM
    ),
    "openai, file first": lambda audio: posted(
        OPENAI, part("file", audio, "a.wav") + part("model", b"whisper-1") + b"--x--\r\n", FORM
    ),
    "events": lambda audio: posted(
        OPENAI,
        part("model", b"whisper-1") + part("stream", b"true") + part("file", audio, "a.wav") + b"--x--\r\n",
        FORM,
    ),
}


def opened(server: Any) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(30)
    return connection


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    """As of a program that was killed with data unread."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def wait_for(server: Any, gauge: str, value: float, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (now := server.gauge(gauge)) != value:
        assert time.monotonic() < end, f"{gauge} is {now}, not {value}"
        time.sleep(0.02)


def computed_steps(server: Any) -> float:
    lines = server.metrics().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("asr_inference_duration_seconds_count"))


@dataclass(frozen=True)
class Stage:
    """How much of the request is sent, and what is waited for before the client leaves."""

    share: float
    reach: Callable[[Any, socket.socket, float], None]


def nothing_more(server: Any, connection: socket.socket, steps: float) -> None:
    wait_for(server, "asr_queue_depth", 1, 10)


def first_step(server: Any, connection: socket.socket, steps: float) -> None:
    end = time.monotonic() + 30
    while computed_steps(server) == steps:
        assert time.monotonic() < end
        time.sleep(0.02)


def first_event(server: Any, connection: socket.socket, steps: float) -> None:
    received = b""
    while b"transcript.text.delta" not in received:
        data = connection.recv(1 << 16)
        assert data, received
        received += data


STAGES = {
    "upload": Stage(0.3, nothing_more),
    "upload, decoded meanwhile": Stage(0.9, nothing_more),
    "all sent": Stage(1.0, nothing_more),
    "computing": Stage(1.0, first_step),
}


@pytest.mark.parametrize("leave", [close, reset, half_close])
@pytest.mark.parametrize("stage", list(STAGES))
@pytest.mark.parametrize("request_name", list(REQUESTS))
def test_files(small: Any, long_wav: bytes, request_name: str, stage: str, leave: Any) -> None:
    data = REQUESTS[request_name](long_wav)
    wait_for(small, "asr_queue_depth", 0, 10)
    with opened(small) as connection:
        steps = computed_steps(small)
        connection.sendall(data[: int(len(data) * STAGES[stage].share)])
        STAGES[stage].reach(small, connection, steps)
        leave(connection)
        wait_for(small, "asr_queue_depth", 0, FREE_SECONDS)


@pytest.mark.parametrize("leave", [close, reset, half_close])
def test_in_the_middle_of_events(small: Any, long_wav: bytes, leave: Any) -> None:
    """More of them than there are places; the place of each is free, and the next file is let in."""
    for _ in range(MAX_FILES + 1):
        with opened(small) as connection:
            connection.sendall(REQUESTS["events"](long_wav))
            first_event(small, connection, 0)
            leave(connection)
            wait_for(small, "asr_queue_depth", 0, FREE_SECONDS)


def test_events_that_nobody_takes_keep_no_place(small: Any, clip: Any) -> None:
    """The client stays but reads nothing: all is computed, and then its place is free."""
    with opened(small) as connection:
        connection.sendall(REQUESTS["events"](clip.encoded()))
        nothing_more(small, connection, 0)
        wait_for(small, "asr_queue_depth", 0, 20)


@pytest.mark.parametrize("leave", [close, reset, half_close])
def test_while_others_are_computed(small: Any, long_wav: bytes, leave: Any) -> None:
    """The only engine is busy with a file of somebody else."""
    with opened(small) as other:
        other.sendall(REQUESTS["raw"](long_wav))
        nothing_more(small, other, 0)
        with opened(small) as connection:
            connection.sendall(REQUESTS["raw"](long_wav))
            wait_for(small, "asr_queue_depth", 2, 10)
            leave(connection)
            wait_for(small, "asr_queue_depth", 1, FREE_SECONDS)
    wait_for(small, "asr_queue_depth", 0, FREE_SECONDS)


@pytest.mark.parametrize("leave", [close, reset, half_close])
@pytest.mark.parametrize("kind", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", None), ("W64", None)])
def test_each_way_of_decoding(small: Any, long_pcm: bytes, kind: Any, leave: Any) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.frombuffer(long_pcm, "<i2")[: 60 * 16_000], 16_000, format=kind[0], subtype=kind[1])
    data = REQUESTS["raw"](buffer.getvalue())
    with opened(small) as connection:
        steps = computed_steps(small)
        connection.sendall(data)
        first_step(small, connection, steps)
        leave(connection)
        wait_for(small, "asr_queue_depth", 0, FREE_SECONDS)


def test_nothing_is_computed_for_nobody(small: Any) -> None:
    """An hour in few bytes, all of which the client's kernel has taken when it leaves: its end is behind them."""
    noise = np.random.default_rng(1).integers(-8, 8, 3600 * 8000).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, 8000, format="FLAC")
    connection = opened(small)
    steps = computed_steps(small)
    connection.sendall(REQUESTS["raw"](buffer.getvalue()))
    first_step(small, connection, steps)
    time.sleep(1)
    assert small.gauge("asr_queue_depth") == 1
    connection.close()
    wait_for(small, "asr_queue_depth", 0, FREE_SECONDS)
    steps = computed_steps(small)
    time.sleep(1)
    # One may have been under way.
    assert computed_steps(small) <= steps + 1


def test_an_upload_that_is_held_back(start_server: Any) -> None:
    """Of an hour more is sent than the spool takes; the rest waits at the client, which leaves."""
    noise = np.random.default_rng(1).integers(-300, 300, 3600 * 8000).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, 8000, format="FLAC")
    data = REQUESTS["raw"](buffer.getvalue())
    with start_server(spool_bytes=1 << 20, engine_threads=1, reference_interval_seconds=0) as server:
        connection = socket.socket()
        # The loopback would take megabytes, which go before the end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        connection.connect(("127.0.0.1", server.port))
        connection.settimeout(2)
        with pytest.raises(TimeoutError):
            connection.sendall(data)
        assert server.gauge("asr_queue_depth") == 1
        connection.close()
        wait_for(server, "asr_queue_depth", 0, FREE_SECONDS)


STREAM_STAGES = ("connected", "started", "fed", "far ahead", "stopped")


@pytest.mark.parametrize("leave", [close, reset, half_close])
@pytest.mark.parametrize("stage", STREAM_STAGES)
def test_streams(small: Any, long_pcm: bytes, stage: str, leave: Any) -> None:
    wait_for(small, "asr_streams_active", 0, 10)
    with contextlib.suppress(ConnectionClosed, OSError), connect(small.stream_url, compression=None) as stream:
        wait_for(small, "asr_streams_active", 1, 5)
        if stage != "connected":
            stream.send(json.dumps({"type": "start", "bits": 4}))
            stream.recv()
        if stage in ("fed", "stopped"):
            stream.send(long_pcm[:64_000])
        if stage == "far ahead":
            for at in range(0, 25 * 32_000, 32_000):
                stream.send(long_pcm[at : at + 32_000])
        if stage == "stopped":
            stream.send(json.dumps({"type": "stop"}))
        leave(stream.socket)
        wait_for(small, "asr_streams_active", 0, FREE_SECONDS)
        return
    raise AssertionError("the stream ended before its client left")


def test_afterwards_everything_is_let_in(small: Any, clip: Any) -> None:
    """As many files and streams as there are places."""
    with ThreadPoolExecutor(MAX_FILES) as pool:
        url = f"{small.url}/transcribe?bits=1"
        answers = list(pool.map(lambda _: httpx.post(url, content=clip.encoded(), timeout=60), range(MAX_FILES)))
    assert [answer.status_code for answer in answers] == [200] * MAX_FILES
    assert httpx.get(f"{small.url}/health/ready").status_code == 200


def test_no_client_holds_up_the_end(start_server: Any, long_wav: bytes, long_pcm: bytes) -> None:
    """Uploads that stall, events that nobody reads, streams that say nothing: SIGTERM ends the process all the same."""
    drain_seconds = 2
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(start_server(drain_seconds=drain_seconds, engine_threads=1))
        for name, share in (("raw", 0.3), ("openai, file first", 0.5), ("events", 1.0), ("form", 1.0), ("raw", 0.001)):
            connection = stack.enter_context(opened(server))
            data = REQUESTS[name](long_wav)
            connection.sendall(data[: int(len(data) * share)])
        for fed in (b"", long_pcm[:640_000]):
            stream = stack.enter_context(connect(server.stream_url, compression=None))
            stream.send(json.dumps({"type": "start"}))
            if fed:
                stream.send(fed)
        connection = stack.enter_context(opened(server))
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        wait_for(server, "asr_queue_depth", 5, 10)
        begin = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begin < drain_seconds + 4
