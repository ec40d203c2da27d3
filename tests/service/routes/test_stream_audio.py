"""What streams may send: numbers as JSON writes them, telephone samples, long messages, and no files without ffmpeg."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from onebit_model.audio.reading import PcmFormat
from onebit_service.server.application import create_app
from onebit_service.settings import Settings


def messages_of(url: str, start: dict[str, Any], audio: list[bytes]) -> tuple[list[dict[str, Any]], int | None]:
    """Everything that the server says, and its close code."""
    messages = []
    with connect(url, subprotocols=["onebit.v1"], compression=None) as stream:  # type: ignore[list-item]
        try:
            stream.send(json.dumps({"type": "start", **start}))
            for packet in audio:
                stream.send(packet)
            stream.send(json.dumps({"type": "stop"}))
        except ConnectionClosed:
            pass
        try:
            while True:
                messages.append(json.loads(stream.recv(60)))
        except ConnectionClosed:
            return messages, stream.close_code


@pytest.mark.parametrize("encoding", ["ULAW", "ALAW"])
def test_telephone_samples_are_those_of_libsndfile(encoding: str) -> None:
    codes = bytes(range(256))
    expected, _ = soundfile.read(
        io.BytesIO(codes), format="RAW", subtype=encoding, samplerate=8000, channels=1, dtype="float32", always_2d=True
    )
    name: Any = {"ULAW": "mulaw", "ALAW": "alaw"}[encoding]
    np.testing.assert_array_equal(PcmFormat(8000, 1, name).decode(codes), expected)


def test_whole_numbers_may_be_written_with_a_point(server: Any, clip: Any) -> None:
    exact: dict[str, Any] = {"bits": 1, "sample_rate": 16000, "channels": 1, "chunk": 8}
    points = {name: float(value) for name, value in exact.items()}
    heard = []
    for start in (exact, points):
        (ready, *others), code = messages_of(server.stream_url, start, [clip.pcm])
        assert code == 1000
        assert {name: ready[name] for name in exact} == exact
        assert type(ready["sample_rate"]) is int
        heard.append([message.get("text") for message in others])
    assert heard[0] == heard[1]


@pytest.mark.parametrize("field", [{"sample_rate": 16000.5}, {"channels": True}, {"chunk": 8.5}, {"bits": 1.5}])
def test_other_numbers_are_not(server: Any, field: dict[str, Any]) -> None:
    (error,), code = messages_of(server.stream_url, field, [])
    assert (error["code"], error["field"], code) == ("invalid_message", next(iter(field)), 1008)


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_telephone_streams(server: Any, clip: Any, encoding: str) -> None:
    """What a gateway sends is heard as the same audio in 16 bits is."""
    subtype = {"mulaw": "ULAW", "alaw": "ALAW"}[encoding]
    buffer = io.BytesIO()
    soundfile.write(buffer, clip.samples, 16_000, format="RAW", subtype=subtype)
    codes = buffer.getvalue()
    pcm = (PcmFormat(16_000, 1, encoding).decode(codes)[:, 0] * 32768).astype("<i2").tobytes()  # type: ignore[arg-type]
    start = {"sample_rate": 16_000}
    companded, _ = messages_of(server.stream_url, start | {"encoding": encoding}, [codes[:777], codes[777:]])
    linear, _ = messages_of(server.stream_url, start, [pcm])
    assert companded[0]["encoding"] == encoding
    assert companded[-1]["duration_seconds"] == linear[-1]["duration_seconds"] == round(clip.seconds, 3)
    finals = [[message["text"] for message in said if message["type"] == "final"] for said in (companded, linear)]
    assert finals[0] == finals[1]


@pytest.mark.parametrize(("encoding", "seconds"), [("s16le", 65.536), ("mulaw", 131.072)])
def test_messages_of_1_mib_at_8_khz(server: Any, encoding: str, seconds: float) -> None:
    start = {"bits": 1, "sample_rate": 8000, "encoding": encoding, "partials": False}
    messages, code = messages_of(server.stream_url, start, [b"\0" * (1 << 20), b"\0" * (1 << 20)])
    assert code == 1000, messages
    assert messages[-1]["duration_seconds"] == pytest.approx(2 * seconds, abs=0.001)


@pytest.fixture(scope="module")
def without_ffmpeg(model_file: Path) -> Iterator[TestClient]:
    settings = Settings(model=str(model_file), ffmpeg="", engine_threads=1, reference_interval_seconds=0)
    with TestClient(create_app(settings)) as http:
        while http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        yield http


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x1a\x45\xdf\xa3" + bytes(40), "WebM"),
        (b"OggS" + bytes(40), "Ogg"),
        (b"\0\0\0\x20ftypisom" + bytes(40), "MP4"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(40), "WAV"),
        (b"fLaC" + bytes(40), "FLAC"),
    ],
)
def test_files_are_refused_by_name_without_ffmpeg(without_ffmpeg: TestClient, head: bytes, name: str) -> None:
    with without_ffmpeg.websocket_connect("/stream", subprotocols=["onebit.v1"]) as stream:
        stream.send_text(json.dumps({"type": "start"}))
        assert stream.receive_json()["type"] == "ready"
        stream.send_bytes(head)
        error = stream.receive_json()
        assert error["code"] == "wrong_frame"
        assert name in error["message"]
        assert "ffmpeg" in error["message"]
        assert stream.receive()["code"] == 1003


def test_files_that_cannot_be_decoded_are_refused_by_name(start_server: Any) -> None:
    """By a program that decodes nothing."""
    with start_server(ffmpeg="/bin/false", reference_interval_seconds=0) as server:
        messages, code = messages_of(server.stream_url, {}, [b"OggS" + bytes(1000)])
    assert (messages[-1]["code"], code) == ("wrong_frame", 1003)
    assert "Ogg" in messages[-1]["message"]
