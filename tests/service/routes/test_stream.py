"""GET /stream, spoken by a WebSocket client that knows nothing but docs/streaming.md."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

DOCUMENT = Path(__file__).parents[3] / "docs" / "streaming.md"
STOP = json.dumps({"type": "stop"})


def opened(server: Any, **options: Any) -> connect:
    return connect(server.stream_url, **{"subprotocols": ["onebit.v1"], "compression": None, **options})


def start(**fields: Any) -> str:
    return json.dumps({"type": "start", **fields})


async def received(connection: ClientConnection) -> list[dict[str, Any]]:
    """Everything until the server closes."""
    messages = []
    try:
        while True:
            messages.append(json.loads(await asyncio.wait_for(connection.recv(), 30)))
    except ConnectionClosed:
        return messages


async def streamed(server: Any, data: bytes, packet_bytes: int, **fields: Any) -> list[dict[str, Any]]:
    async with opened(server) as connection:
        await connection.send(start(**fields))
        reading = asyncio.create_task(received(connection))
        for begin in range(0, len(data), packet_bytes):
            await connection.send(data[begin : begin + packet_bytes])
        await connection.send(STOP)
        messages = await reading
        assert connection.close_code == 1000
        return messages


def text_of(messages: list[dict[str, Any]]) -> str:
    return " ".join(message["text"] for message in messages if message["type"] == "final" and message["text"])


@pytest.mark.parametrize("bits", [1, 2, 4])
async def test_a_session(server: Any, clip: Any, recognizer: Any, bits: int) -> None:
    messages = await streamed(server, clip.pcm, 3200, bits=bits)
    ready, *between, done = messages
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert ready.pop("id")
    assert ready == {
        "type": "ready",
        "seq": 1,
        "bits": bits,
        "sample_rate": 16000,
        "encoding": "s16le",
        "channels": 1,
        "chunk": 8,
        "partials": True,
        "words": True,
        "finals": recognizer.tools.usual_decoder,
        "hotwords": [],
        "endpoint_silence_seconds": 0.8,
        "limits": {"max_seconds": 14400.0, "idle_seconds": 30.0, "buffer_seconds": 60.0},
    }
    finals = [message for message in between if message["type"] == "final"]
    assert [final["segment"] for final in finals] == list(range(len(finals)))
    assert finals[-1]["reason"] == "stop"
    for message in between:
        assert message["start"] <= message["end"] <= clip.seconds + 0.05
        if message["type"] == "partial":
            assert set(message) == {"type", "seq", "segment", "start", "end", "text"}
        else:
            assert [word["word"] for word in message["words"]] == message["text"].split()
            assert 0 <= message["confidence"] <= 1
    assert done["duration_seconds"] == pytest.approx(clip.seconds, abs=0.001)
    assert done["processing_seconds"] > 0
    assert done["warnings"] == []


async def test_any_packets_and_any_company_give_the_same_text(server: Any, clip: Any, clips: Any) -> None:
    data = clip.pcm
    alone = text_of(await streamed(server, data, 3200))
    for packet_bytes in (1, 640, 32_000, len(data)):
        assert text_of(await streamed(server, data, packet_bytes)) == alone
    others = [streamed(server, clips[n % len(clips)].pcm, 1000 + 37 * n, bits=(1, 2, 4)[n % 3]) for n in range(31)]
    together = await asyncio.gather(streamed(server, data, 3200), *others)
    assert text_of(together[0]) == alone


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
async def test_rates_do_not_depend_on_packets(server: Any, rate: int) -> None:
    noise = np.random.default_rng(rate).normal(0, 3000, 3 * rate).astype("<i2").tobytes()
    texts = {text_of(await streamed(server, noise, size, sample_rate=rate)) for size in (998, 7000, len(noise))}
    assert len(texts) == 1


async def test_encodings_and_channels(server: Any, clip: Any) -> None:
    samples = np.frombuffer(clip.pcm, "<i2")
    expected = text_of(await streamed(server, clip.pcm, 3200))
    floats = (samples / 32768).astype("<f4").tobytes()
    assert text_of(await streamed(server, floats, 3200, encoding="f32le")) == expected
    stereo = np.repeat(samples, 2).tobytes()
    assert text_of(await streamed(server, stereo, 3200, channels=2)) == expected
    for size in (999, 3200):
        opposite = await streamed(server, np.stack([samples, -samples], axis=1).tobytes(), size, channels=2)
        assert text_of(opposite) == expected
        assert opposite[-1]["warnings"] == ["opposite_channels"]


async def test_silence_makes_finals(server: Any, clips: Any) -> None:
    pause = np.zeros(24_000, "<i2").tobytes()
    data = b"".join(clip.pcm + pause for clip in clips[:3])
    messages = await streamed(server, data, 3200)
    finals = [message for message in messages if message["type"] == "final"]
    assert [final["reason"] for final in finals[:-1]] == ["silence"] * (len(finals) - 1)
    assert len(finals) >= 3
    starts = [final["start"] for final in finals]
    assert starts == sorted(starts)


async def test_without_endpoints_partials_and_words(server: Any, clips: Any) -> None:
    pause = np.zeros(24_000, "<i2").tobytes()
    data = clips[0].pcm + pause + clips[1].pcm

    def figures() -> list[str]:
        return [line for line in server.metrics().splitlines() if line.startswith("asr_stream_first_partial_seconds")]

    before = figures()
    messages = await streamed(server, data, 3200, endpoint_silence_seconds=0, partials=False, words=False, chunk=16)
    assert [message["type"] for message in messages] == ["ready", "final", "done"]
    assert messages[1]["words"] == []
    # Where no partials are wanted, the final is no late one.
    assert figures() == before


async def test_finalize(server: Any, clip: Any) -> None:
    half = len(clip.pcm) // 4 * 2
    async with opened(server) as connection:
        await connection.send(start(partials=False))
        await connection.recv()
        await connection.send(clip.pcm[:half])
        await connection.send(json.dumps({"type": "finalize"}))
        first = json.loads(await connection.recv())
        assert (first["type"], first["reason"], first["segment"]) == ("final", "finalize", 0)
        await connection.send(json.dumps({"type": "keepalive"}))
        await connection.send(clip.pcm[half:])
        await connection.send(STOP)
        rest = await received(connection)
    assert [message["type"] for message in rest] == ["final", "done"]
    assert rest[0]["segment"] == 1
    assert rest[0]["start"] >= first["end"] - 0.05


async def test_half_a_sample_at_the_end(server: Any, clip: Any) -> None:
    messages = await streamed(server, clip.pcm[:20_001], 999)
    assert messages[-1]["warnings"] == ["partial_sample_dropped"]
    assert messages[-1]["duration_seconds"] == 10_000 / 16_000


async def test_stop_without_audio(server: Any) -> None:
    messages = await streamed(server, b"", 1)
    assert [message["type"] for message in messages] == ["ready", "done"]


async def test_long_speech_is_cut_at_30_seconds(server: Any, clips: Any) -> None:
    data = (b"".join(clip.pcm for clip in clips) * 3)[: 70 * 32_000]
    messages = await streamed(server, data, 32_000, endpoint_silence_seconds=0)
    finals = [message for message in messages if message["type"] == "final"]
    assert [final["reason"] for final in finals] == ["max_segment", "max_segment", "stop"]
    assert all(final["end"] - final["start"] <= 30 for final in finals)


@pytest.mark.parametrize(
    ("messages", "code", "error", "field"),
    [
        (["no json"], 1003, "wrong_frame", None),
        (["[]"], 1003, "wrong_frame", None),
        (['{"type": "begin"}'], 1003, "wrong_frame", None),
        ([b"audio first"], 1003, "wrong_frame", None),
        (["[" * 50_000], 1003, "wrong_frame", None),
        (['{"type": "start", "\\ud800": 1}'], 1003, "wrong_frame", None),
        ([start(hotwords=["\ud800"])], 1003, "wrong_frame", None),
        ([start(endpoint_silence_seconds=float("nan"))], 1003, "wrong_frame", None),
        ([STOP], 1008, "invalid_message", "type"),
        ([start(colour="red")], 1008, "invalid_message", "colour"),
        ([start(sample_rate=7999)], 1008, "invalid_message", "sample_rate"),
        ([start(sample_rate="16000")], 1008, "invalid_message", "sample_rate"),
        ([start(encoding="mp3")], 1008, "invalid_message", "encoding"),
        ([start(chunk=9)], 1008, "invalid_message", "chunk"),
        ([start(bits=3)], 1008, "unsupported_bits", "bits"),
        ([start(endpoint_silence_seconds=-1)], 1008, "invalid_message", "endpoint_silence_seconds"),
        ([start(hotwords=["?!"])], 1008, "invalid_message", "hotwords"),
        ([start(hotwords=["lamp"] * 101)], 1008, "invalid_message", "hotwords"),
        ([start(hotwords="lamp")], 1008, "invalid_message", "hotwords"),
        ([start(), start()], 1008, "invalid_message", "type"),
        ([start(), b"\0\0" * 100, "text"], 1003, "wrong_frame", None),
        ([start(), '{"type": "stop", "now": true}'], 1008, "invalid_message", "now"),
        ([start(), STOP, b"\0\0"], 1008, "invalid_message", None),
        ([start(encoding="f32le"), np.full(400, np.nan, "<f4").tobytes()], 1008, "invalid_audio", None),
    ],
)
async def test_broken_protocol(server: Any, messages: list[Any], code: int, error: str, field: str | None) -> None:
    async with opened(server) as connection:
        answers = asyncio.create_task(received(connection))
        for message in messages:
            await connection.send(message)
        last = (await answers)[-1]
        # After `stop` the server may have been faster.
        if not (messages[-1] == b"\0\0" and last["type"] == "done"):
            assert (last["type"], last["code"], last.get("field")) == ("error", error, field)
            assert connection.close_code == code


async def test_frame_over_1_mib(server: Any) -> None:
    async with opened(server) as connection:
        await connection.send(start())
        await connection.send(b"\0" * ((1 << 20) + 2))
        await received(connection)
        assert connection.close_code == 1009


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"\xff" * 500, 1002),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
        (bytes(range(256)) * 8, 1002),
        (b"\x81\x82\0\0\0\0\xff\xff", 1007),
    ],
)
async def test_bytes_that_are_no_frames(server: Any, clip: Any, garbage: bytes, code: int) -> None:
    async with opened(server) as connection:
        await connection.send(start())
        await connection.recv()
        connection.transport.write(garbage)
        await received(connection)
        assert connection.close_code == code
    assert (await streamed(server, clip.pcm, 3200))[-1]["type"] == "done"


async def test_nothing_is_compressed(server: Any) -> None:
    async with opened(server, compression="deflate") as connection:
        assert connection.protocol.extensions == []


async def test_hotwords_are_heard(server: Any, boosted: Any, recognizer: Any, clips: Any) -> None:
    """Whatever the packets and the company, a third of it with hotwords. Without endpoints the clip is one segment."""
    search = recognizer.search(None, boosted.hotwords, "ctc")
    expected = boosted.words(recognizer.transcribe(boosted.clip.decoded, 4, 8, search))
    fields = {"finals": "ctc", "hotwords": boosted.hotwords, "endpoint_silence_seconds": 0}
    for packet_bytes in (1, 640, 999, 32_000, len(boosted.clip.pcm)):
        ready, *events, done = await streamed(server, boosted.clip.pcm, packet_bytes, **fields)
        assert ready["hotwords"] == boosted.hotwords
        assert done["warnings"] == []
        assert any(event["type"] == "partial" for event in events)
        assert text_of(events) == expected
    others = [
        streamed(server, clips[n % len(clips)].pcm, 1000 + 37 * n, hotwords=boosted.hotwords if n % 3 == 0 else [])
        for n in range(31)
    ]
    together = await asyncio.gather(streamed(server, boosted.clip.pcm, 3200, **fields), *others)
    assert text_of(together[0]) == expected


async def test_the_example_of_the_documentation_runs(server: Any, clip: Any, tmp_path: Path) -> None:
    example = DOCUMENT.read_text().partition("```python\n")[2].partition("```")[0]
    assert "ws://127.0.0.1:8000/stream" in example
    (tmp_path / "example.py").write_text(example.replace("ws://127.0.0.1:8000/stream", server.stream_url))
    (tmp_path / "speech.s16le").write_bytes(clip.pcm)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "example.py", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await program.communicate()
    assert program.returncode == 0
    assert output.decode().splitlines()[-1].startswith("final ")


async def test_wrong_subprotocol(server: Any) -> None:
    async with opened(server, subprotocols=["onebit.v9"]) as connection:
        (error,) = await received(connection)
        assert error["code"] == "invalid_message"
        assert connection.close_code == 1008


@pytest.fixture(scope="module")
def strict_server(start_server: Any) -> Iterator[Any]:
    settings = {"api_keys": "secret", "allowed_origins": "https://good.example", "idle_seconds": 1, "max_streams": 2}
    limits = {"buffer_seconds": 20, "max_stream_seconds": 3, "max_silent_seconds": 4}
    with start_server(**settings, **limits) as running:
        yield running


@pytest.fixture
def strict(strict_server: Any) -> Any:
    """The server once the streams of the test before have given their places back."""
    end = time.monotonic() + 10
    while strict_server.gauge("asr_streams_active") and time.monotonic() < end:
        time.sleep(0.05)
    return strict_server


KEY = {"additional_headers": {"authorization": "Bearer secret"}}


async def refused(server: Any, **options: Any) -> tuple[str, int | None]:
    async with opened(server, **options) as connection:
        (error,) = await received(connection)
        assert error["type"] == "error"
        return error["code"], connection.close_code


async def test_keys_and_origins(strict: Any) -> None:
    def in_subprotocol(key: str) -> dict[str, Any]:
        return {"subprotocols": ["onebit.v1", "key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")]}

    assert await refused(strict) == ("unauthorized", 1008)
    assert await refused(strict, **in_subprotocol("wrong")) == ("unauthorized", 1008)
    assert await refused(strict, origin="https://bad.example", **KEY) == ("forbidden_origin", 1008)
    for options in (KEY, in_subprotocol("secret"), {"origin": "https://good.example", **KEY}):
        async with opened(strict, **options) as connection:
            assert connection.subprotocol == "onebit.v1"
            await connection.send(start())
            assert json.loads(await connection.recv())["type"] == "ready"


async def test_idle(strict: Any) -> None:
    for first in ([], [start()]):
        async with opened(strict, **KEY) as connection:
            for message in first:
                await connection.send(message)
            begin = time.monotonic()
            assert (await received(connection))[-1]["code"] == "idle"
            assert connection.close_code == 1008
            assert 0.9 < time.monotonic() - begin < 5


async def test_keepalive_holds_a_stream_open(strict: Any) -> None:
    async with opened(strict, **KEY) as connection:
        await connection.send(start())
        for _ in range(8):
            await asyncio.sleep(0.3)
            await connection.send(json.dumps({"type": "keepalive"}))
        await connection.send(STOP)
        assert (await received(connection))[-1]["type"] == "done"


async def test_keepalives_do_not_hold_a_place_for_ever(strict: Any, clip: Any) -> None:
    """The time counts from the last audio."""
    async with opened(strict, **KEY) as connection:
        await connection.send(start(partials=False))
        await asyncio.sleep(0.8)
        await connection.send(clip.pcm[:3200])
        begin = time.monotonic()
        answers = asyncio.create_task(received(connection))
        with contextlib.suppress(ConnectionClosed):
            while time.monotonic() - begin < 10:
                await connection.send(json.dumps({"type": "keepalive"}))
                await asyncio.sleep(0.2)
        assert 3.9 < time.monotonic() - begin < 8
        error = (await answers)[-1]
        assert (error["code"], connection.close_code) == ("idle", 1008)
        assert "no audio" in error["message"]


async def test_overload_is_refused_with_a_hint(strict: Any) -> None:
    async with opened(strict, **KEY) as first, opened(strict, **KEY) as second:
        await first.send(start())
        await second.send(start())
        await first.recv()
        await second.recv()
        async with opened(strict, **KEY) as third:
            (error,) = await received(third)
        # Nobody had to leave first.
        assert strict.gauge("asr_streams_active") == 2
        assert error["code"] == "overloaded"
        assert error["retry_after_seconds"] > 0
        assert third.close_code == 1013


async def test_more_audio_than_may_wait(strict: Any) -> None:
    async with opened(strict, **KEY) as connection:
        await connection.send(start(sample_rate=8000))
        await connection.send(bytes(21 * 16_000))
        assert (await received(connection))[-1]["code"] == "too_far_ahead"
        assert connection.close_code == 1009


async def test_longest_stream_is_stopped_politely(strict: Any) -> None:
    async with opened(strict, **KEY) as connection:
        await connection.send(start())
        for _ in range(40):
            await connection.send(bytes(3200))
        messages = await received(connection)
        assert messages[-1]["type"] == "done"
        assert messages[-1]["warnings"] == ["max_seconds"]
        assert connection.close_code == 1000


async def test_a_client_that_leaves_frees_its_place(server: Any, clip: Any) -> None:
    async with opened(server) as connection:
        await connection.send(start())
        await connection.recv()
        await connection.send(clip.pcm)
        assert server.gauge("asr_streams_active") == 1
        connection.transport.abort()
    end = time.monotonic() + 2
    while server.gauge("asr_streams_active") and time.monotonic() < end:
        await asyncio.sleep(0.02)
    assert server.gauge("asr_streams_active") == 0
