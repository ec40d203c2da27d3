"""The importable client and the command that is built on it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from onebit_service.client import StreamOptions, StreamRefusedError, open_stream, paced
from onebit_service.routes.stream_messages import FinalMessage


async def heard(server: Any, packets: Any, **options: Any) -> tuple[str, Any]:
    async with open_stream(server.stream_url, StreamOptions(**options)) as stream:
        sending = asyncio.create_task(stream.send_all(packets))
        texts = [message.text async for message in stream if isinstance(message, FinalMessage)]
        await sending
        return " ".join(text for text in texts if text), stream.done


async def test_client(server: Any, clip: Any, recognizer: Any) -> None:
    packets = [clip.pcm[start : start + 3200] for start in range(0, len(clip.pcm), 3200)]
    text, done = await heard(server, packets, bits=1, endpoint_silence_seconds=0)
    assert done.duration_seconds == pytest.approx(clip.seconds, abs=0.001)
    begin = time.monotonic()
    in_real_time, _ = await heard(server, paced(packets, 0.1), bits=1, endpoint_silence_seconds=0)
    assert time.monotonic() - begin >= 0.1 * len(packets)
    assert in_real_time == text


async def test_refusals(server: Any) -> None:
    with pytest.raises(StreamRefusedError, match="unsupported_bits") as refused:
        async with open_stream(server.stream_url, StreamOptions(bits=3)):
            pass
    assert refused.value.close_code == 1008


def stream_command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onebit_service", "stream", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_stream_command(server: Any, clip: Any, tmp_path: Path, source: str) -> None:
    audio = tmp_path / "speech.flac"
    audio.write_bytes(clip.encoded(format="FLAC"))
    name = str(audio) if source == "file" else "-"
    with audio.open("rb") as data:
        done = stream_command(name, "--url", server.stream_url, stdin=data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_real_time_begins_before_the_file_has_ended(server: Any, clip: Any) -> None:
    """What is still being written to a pipe is sent as it comes, not once it is complete."""
    command = [sys.executable, "-m", "onebit_service", "stream", "-", "--real-time", "--url", server.stream_url]
    data = clip.encoded(format="AU")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        program.stdin.write(data[: len(data) // 2])
        program.stdin.flush()
        sent = 'asr_inference_duration_seconds_count{bits="4"}'

        def steps() -> float:
            found = [line.split()[1] for line in server.metrics().splitlines() if line.startswith(sent)]
            return float(found[0]) if found else 0.0

        before, end = steps(), time.monotonic() + 30
        while steps() == before:
            assert time.monotonic() < end, "nothing was sent while the file was open"
            time.sleep(0.1)
        output, _ = program.communicate(data[len(data) // 2 :], timeout=60)
    assert program.returncode == 0
    assert output.strip()


@pytest.fixture
def recorder(clip: Any, tmp_path: Path) -> dict[str, str]:
    """A machine whose microphone hears a clip."""
    (tmp_path / "clip.s16le").write_bytes(clip.pcm)
    program = tmp_path / "arecord"
    program.write_text(f"#!/bin/sh\nexec cat {tmp_path}/clip.s16le\n")
    program.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_stream_command_with_a_microphone(server: Any, clip: Any, tmp_path: Path, recorder: dict[str, str]) -> None:
    heard = stream_command("--microphone", "--url", server.stream_url, env=recorder)
    assert heard.returncode == 0, heard.stderr
    audio = tmp_path / "speech.wav"
    audio.write_bytes(clip.encoded())
    assert heard.stdout == stream_command(str(audio), "--url", server.stream_url).stdout


@pytest.mark.parametrize("source", ["nothing", "text", "no recorder"])
def test_stream_command_without_audio(server: Any, tmp_path: Path, source: str) -> None:
    """The reason is shown at once, not after the server has waited in vain for audio."""
    (tmp_path / "text").write_text("hello")
    arguments = ("--microphone",) if source == "no recorder" else (str(tmp_path / source),)
    begin = time.monotonic()
    done = stream_command(*arguments, "--url", server.stream_url, env=os.environ | {"PATH": str(tmp_path)})
    assert time.monotonic() - begin < 20
    assert done.returncode == 1
    reason = {"nothing": "No such file", "text": "not audio", "no recorder": "no recording program"}[source]
    assert done.stderr.startswith("error:")
    assert reason in done.stderr
    assert (str(tmp_path / source) in done.stderr) == (source != "no recorder")


BAD_URLS = ["ws://127.0.0.1:1/stream", "ws://127.0.0.1:99999/stream", "ws://[::1/stream", "nonsense", "{http}/stream"]


@pytest.mark.parametrize("url", [*BAD_URLS, f"ws://{64 * 'a'}/stream", "{ws}/", "{ws}/nothing"])
def test_stream_command_without_server(server: Any, tmp_path: Path, clip: Any, url: str) -> None:
    audio = tmp_path / "speech.wav"
    audio.write_bytes(clip.encoded())
    done = stream_command(str(audio), "--url", url.format(http=server.url, ws=f"ws://{server.address}"))
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert done.stderr.count("\n") == 1
    assert ("streams are at /stream" in done.stderr) == url.startswith("{ws}")


def test_stream_command_with_a_precision_that_is_not_there(server: Any, tmp_path: Path, clip: Any) -> None:
    audio = tmp_path / "speech.wav"
    audio.write_bytes(clip.encoded())
    done = stream_command(str(audio), "--url", server.stream_url, "--bits", "3")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unsupported_bits")
