"""`onebit wyoming` in a process of its own, asked by the client of the `wyoming` package."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from onebit_model.recognition.recognizer import Recognizer

FORM = {"rate": 16_000, "width": 2, "channels": 1}
ANSWER_SECONDS = 30


@dataclass
class Program:
    process: subprocess.Popen[str]
    uri: str

    def client(self) -> AsyncClient:
        return AsyncClient.from_uri(self.uri, read_timeout=ANSWER_SECONDS)


StartProgram = Callable[..., AbstractContextManager[Program]]


@pytest.fixture(scope="session")
def start_program() -> StartProgram:
    @contextmanager
    def start(*options: str, uri: str = "tcp://127.0.0.1:0", **settings: object) -> Iterator[Program]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ONEBIT_")}
        environment |= {f"ONEBIT_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "onebit_service", "wyoming", "--uri", uri, *options]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line.startswith("Wyoming: "), line
                yield Program(process, line.split()[1])
            finally:
                process.kill()

    return start


@pytest.fixture(scope="session")
def program(start_program: StartProgram) -> Iterator[Program]:
    with start_program() as running:
        yield running


def chunks_of(pcm: bytes, packet_bytes: int = 3200, **form: int) -> list[Event]:
    form = FORM | form
    pieces = [pcm[at : at + packet_bytes] for at in range(0, len(pcm), packet_bytes)]
    return [AudioChunk(audio=piece, **form).event() for piece in pieces]


async def say(client: AsyncClient, *events: Event) -> None:
    for event in events:
        await client.write_event(event)


async def hear(client: AsyncClient) -> list[Event]:
    """Up to `transcript-stop`, an error, or the end."""
    heard: list[Event] = []
    while (event := await client.read_event()) is not None:
        heard.append(event)
        if event.type in ("transcript-stop", "error"):
            break
    return heard


async def dictate(client: AsyncClient, pcm: bytes, transcribe: Transcribe | None = None, **form: int) -> list[Event]:
    wanted = [transcribe.event()] if transcribe else []
    await say(client, *wanted, AudioStart(**(FORM | form)).event(), *chunks_of(pcm, **form), AudioStop().event())
    return await hear(client)


def text_of(events: list[Event]) -> str:
    (transcript,) = (event for event in events if event.type == "transcript")
    return Transcript.from_event(transcript).text


def expected(recognizer: Recognizer, samples: Any, bits: int = 4, hotwords: list[str] | None = None) -> str:
    search = recognizer.search(None, hotwords or [])
    return " ".join(s.text for s in recognizer.transcribe(samples, bits, 0, search) if s.words)


@asynccontextmanager
async def refusal(program: Program) -> AsyncIterator[tuple[AsyncClient, dict[str, Any]]]:
    """A client, and what the error says that it is told before the connection ends."""
    told: dict[str, Any] = {}
    async with program.client() as client:
        yield client, told
        *_, error = await hear(client)
        assert error.type == "error"
        told.update(error.data)
        with contextlib.suppress(ConnectionError):
            assert await client.read_event() is None


async def test_what_home_assistant_asks_for_first(program: Program) -> None:
    async with program.client() as client:
        await say(client, Describe().event())
        event = await client.read_event()
        assert event is not None
        (asr,) = Info.from_event(event).asr
        assert [model.name for model in asr.models] == ["onebit-4bit", "onebit-1bit", "onebit-2bit"]
        assert {language for model in asr.models for language in model.languages} == {"en"}
        assert asr.installed
        assert asr.supports_transcript_streaming
        await say(client, Event("run-satellite"), Ping("there?").event())
        event = await client.read_event()
        assert event is not None
        assert Pong.from_event(event).text == "there?"


async def test_one_dictation_after_the_other(program: Program, clips: list[Any], recognizer: Recognizer) -> None:
    async with program.client() as client:
        for clip, name, bits in ((clips[0], None, 4), (clips[1], "onebit-1bit", 1), (clips[2], None, 4)):
            events = await dictate(client, clip.pcm, Transcribe(name, "en-US"))
            kinds = [event.type for event in events]
            assert kinds == ["transcript-start", "transcript-chunk", "transcript", "transcript-stop"]
            assert text_of(events) == expected(recognizer, clip.decoded, bits)


async def test_what_is_known_comes_while_more_is_said(program: Program, clips: list[Any]) -> None:
    pause = bytes(2 * 16_000 * 3)
    async with program.client() as client:
        await say(client, *chunks_of(pause.join(clip.pcm for clip in clips)))  # some send no `audio-start`
        first = [await client.read_event() for _ in range(2)]
        await say(client, AudioStop().event())
        events = [event for event in first if event is not None] + await hear(client)
    chunks = [TranscriptChunk.from_event(event).text for event in events if event.type == "transcript-chunk"]
    assert len(chunks) > 1
    assert "".join(chunks) == text_of(events)


def as_wav(samples: Any, rate: int, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("rate", "subtype", "channels"), [(22_050, "PCM_U8", 2), (44_100, "PCM_24", 1), (48_000, "PCM_32", 2)]
)
async def test_other_forms_of_audio(
    program: Program, clip: Any, recognizer: Recognizer, rate: int, subtype: str, channels: int
) -> None:
    samples = np.repeat(soxr.resample(clip.samples, 16_000, rate)[:, None], channels, axis=1)
    wav = as_wav(samples, rate, subtype)
    with wave.open(io.BytesIO(wav)) as file:
        events = [event.event() for event in wav_to_chunks(file, 1000, start_event=True, stop_event=True)]
    async with program.client() as client:
        await say(client, *events)
        text = text_of(await hear(client))
    read, _ = soundfile.read(io.BytesIO(wav), dtype="float32", always_2d=True)
    stream = soxr.ResampleStream(rate, 16_000, 1, dtype="float32")
    assert text == expected(recognizer, stream.resample_chunk(read[:, 0], last=True))


async def test_hotwords_of_a_request(program: Program, boosted: Any, recognizer: Recognizer) -> None:
    clip, names = boosted.clip, boosted.hotwords
    unusable = ["Lampe 7ü", "one two three four five six"]
    wanted = Transcribe(transcript_names=[*names[:2], *unusable], transcript_terms=names[2:])
    async with program.client() as client:
        assert text_of(await dictate(client, clip.pcm, wanted)) == expected(recognizer, clip.decoded, 4, names)
        assert text_of(await dictate(client, clip.pcm)) == expected(recognizer, clip.decoded, 4)


async def test_options(start_program: StartProgram, boosted: Any, recognizer: Recognizer, tmp_path: Path) -> None:
    uri = f"unix://{tmp_path}/wyoming"
    with start_program("--bits", "2", "--hotwords", ",".join(boosted.hotwords), uri=uri) as running:
        assert running.uri == uri
        async with running.client() as client:
            text = text_of(await dictate(client, boosted.clip.pcm))
    assert text == expected(recognizer, boosted.clip.decoded, 2, boosted.hotwords)


async def test_silence_is_no_text(program: Program) -> None:
    async with program.client() as client:
        for pcm in (bytes(64_000), b""):
            assert text_of(await dictate(client, pcm)) == ""


@pytest.mark.parametrize(
    ("event", "code", "message"),
    [
        (AudioStart(16_000, 5, 1).event(), "invalid_message", "audio-start: `width`: "),
        (AudioStart(10, 2, 1).event(), "unsupported_media", "a sample rate of 10 Hz"),
        (AudioStart(16_000, 2, 0).event(), "unsupported_media", "0 channels"),
        (Event("audio-start", {"rate": "fast"}), "invalid_message", "audio-start: `rate`: "),
        (AudioStop().event(), "invalid_message", "`audio-stop` came without any audio"),
        (Transcribe("whisper").event(), "model_not_found", "model 'whisper' does not exist"),
        (Transcribe(language="de").event(), "invalid_message", "transcribe: `language`: only English"),
        (Event("transcribe", {"transcript_names": "Anna"}), "invalid_message", "transcribe: `transcript_names`: "),
        (Event("audio-chunk", FORM, bytes(1 << 21)), "wrong_frame", "`payload_length`: "),
        (Event("describe", {"x": "y" * (1 << 17)}), "wrong_frame", "`data_length`: "),
    ],
)
async def test_what_is_wrong_is_said(program: Program, event: Event, code: str, message: str) -> None:
    async with refusal(program) as (client, told):
        with contextlib.suppress(ConnectionError):
            await say(client, event)
    assert told["code"] == code
    assert message in told["text"]


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"[1]\n", b'{"data": {}}\n', b"x" * (1 << 17)])
async def test_what_is_no_event_is_said(program: Program, line: bytes) -> None:
    reader, writer = await asyncio.open_connection(*program.uri.removeprefix("tcp://").split(":"))
    writer.write(line)
    assert b'"wrong_frame"' in await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
    writer.close()


async def test_audio_that_changes_in_the_middle(program: Program, clip: Any) -> None:
    async with refusal(program) as (client, told):
        await say(client, AudioStart(**FORM).event(), *chunks_of(clip.pcm[:3200], rate=48_000))
    assert told["code"] == "invalid_message"
    assert "from 16000 Hz, 1 channels to 48000 Hz" in told["text"]


async def test_bounds(start_program: StartProgram, clip: Any, recognizer: Recognizer) -> None:
    bounds = {"max_streams": 2, "max_files": 1, "idle_seconds": 2, "max_audio_seconds": 20}
    with start_program(**bounds) as running:
        async with running.client() as speaker, running.client() as other:
            await say(speaker, AudioStart(**FORM).event(), *chunks_of(clip.pcm[:3200]))
            async with refusal(running) as (_, told):  # a third one
                pass
            assert told["code"] == "overloaded"
            await say(other, Ping("x").event())
            assert await other.read_event()
            await say(other, AudioStart(**FORM).event())
            (error,) = await hear(other)
            assert error.data["code"] == "overloaded"
            (error,) = [event for event in await hear(speaker) if event.type == "error"]
            assert error.data == {"text": "nothing came for 2 s", "code": "idle"}
        async with running.client() as endless:
            with contextlib.suppress(ConnectionError):
                await say(endless, AudioStart(**FORM).event(), *chunks_of(bytes(2 * 16_000 * 25), 1 << 16))
            assert "too_large" in [event.data.get("code") for event in await hear(endless)]
        # Whoever leaves in the middle gives the only place back.
        async with running.client() as leaver:
            await say(leaver, AudioStart(**FORM).event(), *chunks_of(clip.pcm))
        begin = time.monotonic()
        while True:
            async with running.client() as client:
                events = await dictate(client, clip.pcm)
            if events[-1].type == "transcript-stop":
                break
            assert time.monotonic() - begin < 2
        assert text_of(events) == expected(recognizer, clip.decoded)


async def test_sigterm_lets_who_speaks_finish(start_program: StartProgram, clip: Any, recognizer: Recognizer) -> None:
    with start_program() as running:
        async with running.client() as speaker, running.client() as silent:
            half = len(clip.pcm) // 4 * 2
            await say(speaker, AudioStart(**FORM).event(), *chunks_of(clip.pcm[:half]))
            await say(silent, Ping("x").event())
            assert await silent.read_event()
            running.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                await running.client().connect()
            await say(silent, AudioStart(**FORM).event())
            (error,) = await hear(silent)
            assert error.data["code"] == "draining"
            await say(speaker, *chunks_of(clip.pcm[half:]), AudioStop().event())
            assert text_of(await hear(speaker)) == expected(recognizer, clip.decoded)
        assert await asyncio.to_thread(running.process.wait, 10) == 0


async def test_sigterm_does_not_wait_for_ever(start_program: StartProgram, clip: Any) -> None:
    with start_program(drain_seconds=1) as running:
        async with running.client() as speaker:
            await say(speaker, AudioStart(**FORM).event(), *chunks_of(clip.pcm))
            running.process.send_signal(signal.SIGTERM)
            *_, error = await hear(speaker)
            assert error.data["code"] == "draining"
        assert await asyncio.to_thread(running.process.wait, 10) == 0


@pytest.mark.parametrize(
    ("options", "settings", "complaint"),
    [
        (["--uri", "udp://127.0.0.1:1"], {}, "--uri: 'udp://127.0.0.1:1' is neither tcp://HOST:PORT nor unix:///PATH"),
        (["--uri", "tcp://127.0.0.1"], {}, "--uri: "),
        (["--uri", "tcp://127.0.0.1:99999"], {}, "--uri: "),
        (["--uri", "unix:///nowhere/at/all"], {}, "cannot listen on /nowhere/at/all: "),
        (["--bits", "3"], {}, "--bits: 3 must be 1, 2 or 4"),
        (["--hotwords", "?!"], {}, "hotword '?!' holds no word"),
        ([], {"api_keys": "secret"}, "setting ONEBIT_API_KEYS: Wyoming knows no keys"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_line(
    options: list[str], settings: dict[str, str], complaint: str
) -> None:
    command = [sys.executable, "-m", "onebit_service", "wyoming", *options]
    environment = os.environ | {f"ONEBIT_{name.upper()}": value for name, value in settings.items()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith(f"error: {complaint}")
