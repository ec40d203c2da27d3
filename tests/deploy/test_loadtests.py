"""What the load generators are made of; tests/system/test_load.py lets them loose on a server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from loadtests import streams
from loadtests.server import Server, cpu_list, require_loopback
from loadtests.soak import GROWTH_BYTES, memory_of
from loadtests.speech import samples_of
from loadtests.streams import Load, Tally, Window, quantile
from loadtests.wire import Message, Wire, audio_frames, frame, text_frame

from onebit_model.recognition.segmentation import onset_seconds

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_are_what_a_server_reads(size: int) -> None:
    """By another implementation of the protocol."""
    from websockets.frames import Opcode
    from websockets.protocol import SERVER, Protocol

    protocol = Protocol(SERVER, max_size=None)
    payload = bytes(range(256)) * (size // 256 + 1)
    protocol.receive_data(frame(payload[:size]) + text_frame(type="stop"))
    audio, text = protocol.events_received()
    assert (audio.opcode, audio.data) == (Opcode.BINARY, payload[:size])
    assert (text.opcode, text.data) == (Opcode.TEXT, b'{"type": "stop"}')


def test_audio_is_cut_into_whole_packets_and_a_rest() -> None:
    frames = audio_frames(b"x" * 250, 100)
    assert [len(one) for one in frames] == [6 + 100, 6 + 100, 6 + 50]


def server_frame(payload: bytes, opcode: int) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + payload


async def test_answers_are_read_however_they_arrive() -> None:
    heard: list[Message] = []
    wire = Wire(lambda message, _: heard.append(message))
    long = b'{"type": "final", "text": "' + b"a" * 300 + b'"}'
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    for byte in answer + server_frame(b'{"type": "ready"}', 1) + server_frame(long, 1):
        wire.data_received(bytes([byte]))
    assert wire.opened.done()
    assert [message["type"] for message in heard] == ["ready", "final"]
    assert len(heard[1]["text"]) == 300
    wire.connection_lost(None)
    assert await wire.closed == 1006


async def test_close_code_is_kept_and_answered() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + server_frame((1012).to_bytes(2, "big"), 8))
        await reader.read()
        writer.close()

    from loadtests.wire import connect

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    wire = await connect(server.sockets[0].getsockname(), lambda *_: None)
    assert await asyncio.wait_for(wire.closed, 10) == 1012
    server.close()
    await server.wait_closed()


def test_load_stays_on_this_machine() -> None:
    for url in ("http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000"):
        require_loopback(url)
    for url in (
        "http://10.0.0.1:8000",
        "http://example.com",
        "http://192.168.1.2",
        "http://127.0.0.1.example.com",
        "x",
    ):
        with pytest.raises(SystemExit):
            require_loopback(url)


def test_quantiles() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(range(100), 0.95) == 95
    assert quantile([7], 0.99) == 7
    assert cpu_list("0,2") == [0, 2]


@pytest.mark.parametrize("event", ["", "lost", "refused"])
def test_the_window_lasts_until_each_place_was_measured(monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    now, tally = 100.0, Tally()
    monkeypatch.setattr(streams.time, "perf_counter", lambda: now)
    load = Load(4, 8, 0.1, streams=2, seconds=10, clip_seconds=5, bound_seconds=1)
    window = Window(load, tally, begin=105)
    assert not window.is_open
    assert not window.is_over
    now = 106
    assert window.is_open
    now = 120
    assert window.is_open
    tally.unmeasured -= 1
    assert window.is_open
    if event:
        setattr(tally, event, 1)
    else:
        tally.unmeasured -= 1
    assert window.is_over
    assert not window.is_open
    now = 110
    assert window.is_open


def test_onset_is_where_speech_begins() -> None:
    generator = np.random.default_rng(1)
    hum = generator.normal(0, 30, 16_000)
    speech = generator.normal(0, 3000, 16_000)
    spoken = np.concatenate([hum, speech, hum]).astype("<i2").tobytes()
    assert onset_seconds(samples_of(spoken)) == pytest.approx(1.0, abs=0.02)
    assert onset_seconds(samples_of(speech.astype("<i2").tobytes())) == 0


async def test_the_first_partial_counts_from_the_onset_of_speech() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await asyncio.sleep(0.5)
        for kind in ("partial", "partial", "final", "done"):
            writer.write(server_frame(json.dumps({"type": kind, "text": "a"}).encode(), 1))
        await reader.readuntil(text_frame(type="stop"))
        writer.write(server_frame(b'{"type": "done"}', 1) + server_frame((1000).to_bytes(2, "big"), 8))
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    tally = Tally()
    load = Load(4, 8, 0.1, streams=1, seconds=0.01, clip_seconds=1, bound_seconds=1)
    clip = streams.Clip(audio_frames(bytes(32_000), 3200), onset_seconds=0.2)
    clock = streams.Clock(0.1, tally.late_sends)
    ticking = asyncio.create_task(clock.run())
    window = Window(load, tally, time.perf_counter())
    await streams.Talker(Server(f"http://{host}:{port}"), load, [clip], tally, window).talk(clock, 0)
    ticking.cancel()
    listener.close()
    assert tally.partial_seconds == [pytest.approx(0.3, abs=0.15)]
    assert (tally.finished, tally.lost) == (1, 0)


def test_growth_is_noticed_and_noise_is_not() -> None:
    def samples(per_second: float) -> list[tuple[float, float]]:
        noise = [0, 3e6, -3e6, 1e6]
        warming = [100e6 * min(1.0, second / 60) for second in range(300)]
        return [(float(s), warming[s] + per_second * s + noise[s % 4]) for s in range(300)]

    assert memory_of(samples(0)).flat
    leak = memory_of(samples(3 * GROWTH_BYTES / 200))
    assert not leak.flat
    assert leak.slope_bytes_per_hour == pytest.approx(3 * GROWTH_BYTES / 200 * 3600, rel=0.05)


def test_locust_finds_its_users() -> None:
    locust = Path(sys.executable).with_name("locust")
    command = [locust, "-f", "loadtests/locustfile.py", "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert {"FileUser", "StreamUser"} <= set(done.stdout.split() + done.stderr.split()), done.stderr
