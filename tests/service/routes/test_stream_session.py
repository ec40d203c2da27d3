"""What a session does while the engines take their time."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.testclient import TestClient

from onebit_service.server.application import create_app
from onebit_service.settings import Settings

IDLE_SECONDS = 0.2


class SlowEngine:
    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.bits, self.exact = engine.bits, engine.exact

    def step(self, streams: Any) -> None:
        time.sleep(2 * IDLE_SECONDS)
        self._engine.step(streams)

    def open(self, *arguments: Any, **options: Any) -> Any:
        return self._engine.open(*arguments, **options)


def slow(recognizer: Any, bits: int) -> Any:
    return SlowEngine(recognizer.engine(bits))


def test_who_has_stopped_is_not_idle(model_file: Any, clip: Any) -> None:
    settings = Settings(
        model=str(model_file), engine_threads=1, idle_seconds=IDLE_SECONDS, reference_interval_seconds=0
    )
    with TestClient(create_app(settings, slow)) as http:
        while http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        with http.websocket_connect("/stream", subprotocols=["onebit.v1"]) as stream:
            stream.send_text(json.dumps({"type": "start", "partials": False}))
            assert stream.receive_json()["type"] == "ready"
            stream.send_bytes(clip.pcm)
            stream.send_text(json.dumps({"type": "stop"}))
            assert stream.receive_json()["type"] == "final"
            assert stream.receive_json()["type"] == "done"
            assert stream.receive()["code"] == 1000
