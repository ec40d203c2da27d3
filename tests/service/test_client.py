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
from onebit_service.stream_messages import FinalMessage


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


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_stream_command(server: Any, clip: Any, tmp_path: Path, source: str) -> None:
    audio = tmp_path / "speech.flac"
    audio.write_bytes(clip.encoded(format="FLAC"))
    name = str(audio) if source == "file" else "-"
    command = [sys.executable, "-m", "onebit_service", "stream", name, "--url", server.stream_url]
    with audio.open("rb") as data:
        done = subprocess.run(command, stdin=data, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_stream_command_without_server(tmp_path: Path, clip: Any) -> None:
    audio = tmp_path / "speech.wav"
    audio.write_bytes(clip.encoded())
    command = [sys.executable, "-m", "onebit_service", "stream", str(audio), "--url", "ws://127.0.0.1:1/stream"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
