"""Our fault: the client gets an id, and the log says under it what went wrong."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from onebit_service.server.application import create_app
from onebit_service.settings import Settings


class Log(logging.Handler):
    """What is logged, as it is before it becomes text."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(record.msg)

    def only(self, event: str) -> dict[str, Any]:
        (entry,) = [entry for entry in self.entries if entry["event"] == event]
        return dict(entry)


@pytest.fixture
def log() -> Log:
    return Log()


def broken(*_: object) -> None:
    raise RuntimeError("a broken engine")


class BrokenEngine:
    """Opens streams as the real one does, and computes none."""

    step = staticmethod(broken)

    def __init__(self, engine: Any) -> None:
        self.open = engine.open
        self.bits, self.exact = engine.bits, engine.exact


def broken_engine(recognizer: Any, bits: int) -> Any:
    return BrokenEngine(recognizer.engine(bits))


@pytest.fixture
def http(model_file: Any, log: Log) -> Iterator[TestClient]:
    """An application with broken engines, in this process, so that its log can be read."""
    app = create_app(Settings(model=str(model_file), engine_threads=1, reference_interval_seconds=0), broken_engine)
    logging.getLogger("onebit").handlers = [log]
    with TestClient(app) as client:
        while client.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        yield client


def test_a_stream(http: TestClient, log: Log, clip: Any) -> None:
    headers = {"x-request-id": "stream-1"}
    with http.websocket_connect("/stream", subprotocols=["onebit.v1"], headers=headers) as stream:
        stream.send_text(json.dumps({"type": "start"}))
        assert stream.receive_json()["id"] == "stream-1"
        stream.send_bytes(clip.pcm)
        error = stream.receive_json()
        assert (error["type"], error["code"], error["request_id"]) == ("error", "internal", "stream-1")
        assert "broken" not in error["message"]
        assert stream.receive()["code"] == 1011
    entry = log.only("stream_failed")
    assert entry["request_id"] == "stream-1"
    assert "broken" in str(entry["exc_info"].__cause__)


@pytest.mark.parametrize("path", ["/transcribe", "/v1/audio/transcriptions"])
@pytest.mark.parametrize("place", ["engine", "decoder"])
def test_a_file(http: TestClient, log: Log, clip: Any, monkeypatch: pytest.MonkeyPatch, path: str, place: str) -> None:
    if place == "decoder":
        monkeypatch.setattr("onebit_service.routes.transcription.open_audio", broken)
    fields = {"model": "whisper-1"} if path.startswith("/v1/") else {}
    files = {"file": clip.encoded()}
    answer = http.post(path, files=files, data=fields, headers={"x-request-id": "file-1"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "file-1"
    assert answer.json()["error"]["code"] == "internal"
    assert "broken" not in answer.text
    assert log.only("request_failed")["request_id"] == "file-1"
    assert http.get("/health/live").status_code == 200
