"""Files that are sent where samples are due: decoded as they arrive, on their own clock."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from loadtests.server import Server, server_under_test
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from onebit_model.data.reference import read_set

FORMATS = {
    "webm": ["-c:a", "libopus", "-f", "webm"],
    "ogg": ["-c:a", "libopus", "-f", "ogg"],
    "mp4": ["-c:a", "aac", "-f", "mp4", "-movflags", "frag_keyframe+empty_moov"],
    "wav": ["-c:a", "pcm_s16le", "-f", "wav"],
    "flac": ["-c:a", "flac", "-f", "flac"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_under_test(None, reference_interval_seconds=0) as running:
        yield running


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("speech") / "speech.wav"
    utterance = next(u for u in read_set("librispeech-other") if 5.0 < u.duration_seconds < 8.0)
    soundfile.write(file, utterance.audio.read(), 16_000)
    return file


def stream_url(server: Server) -> str:
    return server.url.replace("http", "ws", 1) + "/stream"


def converted(speech: Path, name: str, *options: str) -> bytes:
    command = ["ffmpeg", "-y", "-nostdin", "-loglevel", "error", "-i", str(speech), *options, f"speech.{name}"]
    subprocess.run(command, cwd=speech.parent, check=True)
    return (speech.parent / f"speech.{name}").read_bytes()


def said(url: str, data: bytes, packet_bytes: int) -> tuple[list[Any], int | None]:
    """Everything that the server says, and its close code."""
    messages = []
    with connect(url, compression=None) as stream:
        with contextlib.suppress(ConnectionClosed):
            stream.send(json.dumps({"type": "start", "endpoint_silence_seconds": 0}))
            for at in range(0, len(data), packet_bytes):
                stream.send(data[at : at + packet_bytes])
            stream.send(json.dumps({"type": "stop"}))
        with contextlib.suppress(ConnectionClosed):
            while True:
                messages.append(json.loads(stream.recv(60)))
        return messages, stream.close_code


@pytest.mark.parametrize("name", list(FORMATS))
def test_files_are_heard(server: Server, speech: Path, name: str) -> None:
    data = converted(speech, name, *FORMATS[name])
    seconds = soundfile.info(speech).duration
    texts = set()
    for packet_bytes in (len(data), 1500):
        messages, code = said(stream_url(server), data, packet_bytes)
        assert code == 1000, messages[-1]
        assert messages[-1]["duration_seconds"] == pytest.approx(seconds, abs=0.2)
        texts.add(" ".join(message["text"] for message in messages if message["type"] == "final"))
    assert len(texts) == 1
    assert len(texts.pop().split()) > 5


def test_a_file_is_heard_while_it_arrives(server: Server, speech: Path) -> None:
    """As a browser records it: partial texts come long before its end."""
    data = converted(speech, "webm", *FORMATS["webm"])
    with connect(stream_url(server), compression=None) as stream:
        stream.send(json.dumps({"type": "start"}))
        assert json.loads(stream.recv(10))["type"] == "ready"
        stream.send(data[: len(data) * 2 // 3])
        assert json.loads(stream.recv(10))["type"] == "partial"


def test_times_are_those_of_the_file(server: Server, speech: Path) -> None:
    """Six seconds are missing after the second: what follows comes later by as much."""
    hole = converted(speech, "webm", "-af", "asetpts='PTS+gte(T,2)*6/TB'", *FORMATS["webm"])
    ends = []
    for data in (converted(speech, "webm", *FORMATS["webm"]), hole):
        messages, code = said(stream_url(server), data, 4000)
        assert code == 1000
        ends.append([message for message in messages if message["type"] == "final"][-1]["words"][-1]["end"])
    assert ends[1] - ends[0] == pytest.approx(6, abs=0.3)


def test_an_index_at_the_end(server: Server, speech: Path) -> None:
    """Such a file cannot be decoded as it arrives; the answer says what it is."""
    long = speech.with_name("long.wav")
    samples, rate = soundfile.read(speech)
    soundfile.write(long, np.tile(samples, 30), rate)
    messages, code = said(stream_url(server), converted(long, "mp4", "-c:a", "aac", "-f", "mp4"), 8000)
    assert (messages[-1]["code"], code) == ("wrong_frame", 1003)
    assert "MP4" in messages[-1]["message"]


def test_who_leaves_takes_the_decoder_along(server: Server, speech: Path) -> None:
    data = converted(speech, "webm", *FORMATS["webm"])
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    with connect(stream_url(server), compression=None) as stream:
        stream.send(json.dumps({"type": "start"}))
        stream.send(data[: len(data) // 2])
        assert json.loads(stream.recv(10))["type"] == "ready"
        assert json.loads(stream.recv(10))["type"] == "partial"
        assert process.children()
        stream.socket.close()
    end = time.monotonic() + 5
    while process.children() and time.monotonic() < end:
        time.sleep(0.05)
    assert not process.children()
