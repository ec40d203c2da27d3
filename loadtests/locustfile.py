"""Locust users: files, and streams paced like real callers. One command, bounded in time and number of users:

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 20 -r 4 -t 60s --only-summary

`FileUser` and `StreamUser` may be named to have only one of them. ONEBIT_LOAD_BITS and ONEBIT_LOAD_PACKET_MS change
what they ask for. The row `final` is the time from `stop` to the final text; the run fails when its 95th percentile is
above ONEBIT_LOAD_BOUND_MS (500) or anything was lost, and says how many streams each core carried.
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

import gevent
import websocket
from locust import HttpUser, User, constant, events, task
from locust.env import Environment

from loadtests.server import require_loopback
from loadtests.speech import BYTES_PER_SECOND, pcm_clips

BITS = int(os.environ.get("ONEBIT_LOAD_BITS", "1"))
PACKET_SECONDS = float(os.environ.get("ONEBIT_LOAD_PACKET_MS", "100")) / 1000
BOUND_MS = float(os.environ.get("ONEBIT_LOAD_BOUND_MS", "500"))
ANSWER_SECONDS = 30
CLIPS = pcm_clips(10, 8.0)
PCM = {"Content-Type": "audio/L16; rate=16000; channels=1"}


class FileUser(HttpUser):
    """Uploads one file after the other."""

    wait_time = constant(0.5)

    @task
    def transcribe(self) -> None:
        path = f"/transcribe?bits={BITS}"
        with self.client.post(path, random.choice(CLIPS), headers=PCM, name="file", catch_response=True) as answer:
            if answer.status_code == 200 and "text" not in answer.json():
                answer.failure("no text")


class StreamUser(User):
    """Speaks a clip in real time and waits for its final text, again and again."""

    wait_time = constant(0)

    @task
    def speak(self) -> None:
        begin = time.perf_counter()
        try:
            audio_seconds = self._converse(random.choice(CLIPS))
        except (OSError, websocket.WebSocketException, ConnectionError) as error:
            self._record("stream", begin, error)
            gevent.sleep(1)
        else:
            self._record("stream", begin, size=int(audio_seconds * BYTES_PER_SECOND))

    def _converse(self, pcm: bytes) -> float:
        url = self.host.replace("http", "ws", 1) + "/stream"
        connection = websocket.create_connection(url, subprotocols=["onebit.v1"], timeout=ANSWER_SECONDS)
        try:
            connection.send(json.dumps({"type": "start", "bits": BITS}))
            reader = gevent.spawn(read_until_done, connection)
            try:
                self._pace(connection, pcm)
                stopped = time.perf_counter()
                connection.send(json.dumps({"type": "stop"}))
                self._record("final", stopped, moment=reader.get(timeout=ANSWER_SECONDS))
            finally:
                reader.kill()
            return len(pcm) / BYTES_PER_SECOND
        finally:
            connection.close(timeout=1)

    def _pace(self, connection: websocket.WebSocket, pcm: bytes) -> None:
        size = int(PACKET_SECONDS * BYTES_PER_SECOND)
        due = time.perf_counter()
        for at in range(0, len(pcm), size):
            due += PACKET_SECONDS
            gevent.sleep(max(0.0, due - time.perf_counter()))
            connection.send_binary(pcm[at : at + size])

    def _record(
        self, name: str, begin: float, error: Exception | None = None, moment: float | None = None, size: int = 0
    ) -> None:
        self.environment.events.request.fire(
            request_type="WS",
            name=name,
            response_time=((moment or time.perf_counter()) - begin) * 1000,
            response_length=size,
            exception=error,
            context={},
        )


def read_until_done(connection: websocket.WebSocket) -> float:
    """The moment of the last text before `done`, or of `done` where there was none."""
    moment = 0.0
    while True:
        message: dict[str, Any] = json.loads(connection.recv() or "{}")
        kind = message.get("type")
        if kind == "final":
            moment = time.perf_counter()
        elif kind == "done":
            return moment or time.perf_counter()
        elif kind in (None, "error"):
            raise ConnectionError(str(message or "closed without an end"))


@events.init.add_listener
def stay_here(environment: Environment, **_: object) -> None:
    if environment.host:
        require_loopback(environment.host)


@events.quitting.add_listener
def conclude(environment: Environment, **_: object) -> None:
    finals = environment.stats.get("final", "WS")
    if not finals.num_requests:
        return
    p95 = finals.get_response_time_percentile(0.95)
    streams = environment.stats.get("stream", "WS")
    elapsed = max(streams.last_request_timestamp - environment.stats.start_time, 1e-9)
    carried = streams.total_content_length / BYTES_PER_SECOND / elapsed
    late = p95 > BOUND_MS or bool(environment.stats.total.num_failures)
    print(
        f"{carried:.1f} streams carried on average, {carried / (os.cpu_count() or 1):.1f} per core of the machine; "
        f"final texts p95 {p95:.0f} ms, bound {BOUND_MS:.0f} ms: {'NOT kept' if late else 'kept'}"
    )
    if late:
        environment.process_exit_code = 1
