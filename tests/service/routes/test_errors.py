"""Every row of the table for /transcribe in docs/http.md, and the one shape that errors have."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from onebit_service.server.application import create_app
from onebit_service.settings import Settings


def check(answer: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "request_id"}
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["error"]["code"] == code
    assert body["error"]["message"]
    assert body["error"].get("field") == field
    return dict(body["error"])


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("bits=3", "unsupported_bits", "bits"),
        ("bits=x", "invalid_parameter", "bits"),
        ("bit=1", "invalid_parameter", "bit"),
        ("format=xml", "invalid_parameter", "format"),
        ("timestamps=letter", "invalid_parameter", "timestamps"),
        ("channel=left", "invalid_parameter", "channel"),
        ("channel=7", "invalid_parameter", "channel"),
        ("channel=%EF%BC%90", "invalid_parameter", "channel"),
        ("chunk=9", "invalid_parameter", "chunk"),
        ("beam=0", "invalid_parameter", "beam"),
        ("beam=x", "invalid_parameter", "beam"),
        ("beam=33", "invalid_parameter", "beam"),
        ("decoder=ctc&beam=1&hotwords=kitchen", "invalid_parameter", "beam"),
        ("decoder=ctc&hotwords=lamp,%E5%8C%97", "invalid_parameter", "hotwords"),
        ("hotwords=" + 101 * "lamp,", "invalid_parameter", "hotwords"),
        ("hotwords=" + 61 * "a", "invalid_parameter", "hotwords"),
    ],
)
def test_bad_parameters(client: httpx.Client, clip: Any, query: str, code: str, field: str) -> None:
    check(client.post(f"/transcribe?{query}", content=clip.encoded()), 422, code, field)


def test_unsupported_bits_names_those_that_are_held(client: httpx.Client, clip: Any) -> None:
    error = check(client.post("/transcribe?bits=3", content=clip.encoded()), 422, "unsupported_bits", "bits")
    assert "1, 2, 4" in error["message"]


def test_unknown_form_field(client: httpx.Client, clip: Any) -> None:
    answer = client.post("/transcribe", data={"colour": "red"}, files={"file": clip.encoded()})
    check(answer, 422, "invalid_parameter", "colour")


def test_two_files(client: httpx.Client, clip: Any) -> None:
    files = [("file", clip.encoded()), ("file", clip.encoded())]
    check(client.post("/transcribe", files=files), 422, "invalid_parameter", "file")


def test_no_audio(client: httpx.Client) -> None:
    check(client.post("/transcribe"), 422, "missing_audio")
    check(client.post("/transcribe", files={"file": b""}), 422, "missing_audio")
    headers = {"content-type": "audio/L16; rate=16000"}
    check(client.post("/transcribe", content=b"", headers=headers), 422, "missing_audio")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
)
def test_broken_multipart(client: httpx.Client, kind: str) -> None:
    check(
        client.post("/transcribe", content=b"nothing of the kind", headers={"content-type": kind}), 422, "missing_audio"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"\0" * 10_000,
        b"RIFF\0\0\0\0WAVEjunk",
        b"fLaC" + b"\1" * 5000,
        b"OggS" + b"\2" * 5000,
        b"RIFF",
        b"ID3",
    ],
)
def test_not_audio(client: httpx.Client, body: bytes) -> None:
    check(client.post("/transcribe", content=body), 415, "unsupported_media")


@pytest.mark.parametrize(
    "kind", ["audio/L16; rate=1", "audio/L16; rate=x", "audio/x-raw; format=u8", "audio/L16; tempo=3"]
)
def test_impossible_pcm(client: httpx.Client, clip: Any, kind: str) -> None:
    check(client.post("/transcribe", content=clip.pcm, headers={"content-type": kind}), 415, "unsupported_media")


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("endianness=middle", "endianness"),
        ("rate=", "rate"),
        ('rate=""; channels=1', "rate"),
        ("endianness=big-endian; format=f32le", "f32be"),
    ],
)
def test_pcm_parameters_are_named(client: httpx.Client, clip: Any, parameter: str, named: str) -> None:
    headers = {"content-type": f"audio/L16; {parameter}"}
    error = check(client.post("/transcribe", content=clip.pcm, headers=headers), 415, "unsupported_media")
    assert named in error["message"]


def test_a_channel_that_is_not_there(client: httpx.Client, clip: Any) -> None:
    answer = client.post("/transcribe?channel=1", content=clip.encoded())
    assert "one channel" in check(answer, 422, "invalid_parameter", "channel")["message"]


def test_a_broken_body_stays_inside_the_log(server: Any, client: httpx.Client) -> None:
    client.post("/transcribe", content=b"OggS", headers={"content-type": "multipart/form-data"})
    lines = server.log.read_text().splitlines()
    about_it = [line for line in lines if "Expected boundary" in line]
    assert about_it
    assert all(json.loads(line)["level"] == "warning" for line in about_it)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(client: httpx.Client, clip: Any, encoded: Any, value: float) -> None:
    samples = clip.samples.copy()
    samples[len(samples) // 2] = value
    check(client.post("/transcribe", content=encoded(samples, 16_000, subtype="FLOAT")), 422, "invalid_audio")


def test_unknown_path_and_method(client: httpx.Client) -> None:
    check(client.get("/nothing"), 404, "not_found")
    check(client.get("/transcribe"), 405, "method_not_allowed")


@pytest.fixture(scope="module")
def strict(start_server: Any) -> Iterator[Any]:
    """A server with small limits and keys."""
    with start_server(
        max_upload_bytes=300_000,
        max_audio_seconds=12,
        upload_idle_seconds=1,
        min_upload_bytes_per_second=1000,
        api_keys="first,second",
    ) as running:
        yield running


KEY = {"authorization": "Bearer second"}


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer third"}, {"authorization": "second"}, {"authorization": "Bearer"}]
)
def test_keys(strict: Any, clip: Any, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{strict.url}/transcribe", content=clip.encoded(), headers=headers)
    check(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    # Who has no key does not learn which parameters there are either.
    check(httpx.post(f"{strict.url}/transcribe?bit=1", headers=headers), 401, "unauthorized")
    assert httpx.post(f"{strict.url}/transcribe", content=clip.encoded(), headers=KEY).status_code == 200
    assert httpx.get(f"{strict.url}/health/ready").status_code == 200


def test_announced_too_large(strict: Any) -> None:
    """The answer comes before any of the body: 1 GB is never sent."""
    with socket.create_connection(("127.0.0.1", strict.port)) as connection:
        head = (
            "POST /transcribe HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\nContent-Length: 1000000000\r\n\r\n"
        )
        connection.sendall(head.encode())
        connection.settimeout(10)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in answer


def test_too_large_while_it_streams_in(strict: Any, encoded: Any) -> None:
    sent = 0
    data = encoded(np.zeros(160_000, np.int16), 48_000)

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield data
        while True:
            sent += 1 << 16
            yield b"\0" * (1 << 16)

    check(httpx.post(f"{strict.url}/transcribe", content=endless(), headers=KEY), 413, "too_large")
    assert sent < 20e6


def test_too_long(strict: Any, encoded: Any) -> None:
    """Compression hides the length until the audio is decoded."""
    data = encoded(np.zeros(13 * 48_000, np.int16), 48_000, format="FLAC")
    assert len(data) < 20_000
    check(httpx.post(f"{strict.url}/transcribe", content=data, headers=KEY), 413, "too_large")


def test_audio_bomb_costs_nothing(strict: Any, encoded: Any) -> None:
    data = encoded(np.zeros(1800 * 48_000, np.int16), 48_000, format="FLAC")
    assert len(data) < 300_000
    begin = time.monotonic()
    check(httpx.post(f"{strict.url}/transcribe", content=data, headers=KEY), 413, "too_large")
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("pause_seconds", [0.05, 2.5])
def test_slow_upload(strict: Any, clip: Any, pause_seconds: float) -> None:
    def drops() -> Iterator[bytes]:
        data = clip.encoded()
        for start in range(0, len(data), 10):
            yield data[start : start + 10]
            time.sleep(pause_seconds)

    begin = time.monotonic()
    check(httpx.post(f"{strict.url}/transcribe", content=drops(), headers=KEY, timeout=30), 408, "slow_upload")
    assert time.monotonic() - begin < 8
    assert strict.gauge("asr_queue_depth") == 0


@pytest.mark.parametrize("head", [b"", b"POST /transcribe HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come(strict: Any, head: bytes) -> None:
    """Byte by byte is no better; what comes in time may take its time afterwards."""
    with socket.create_connection(("127.0.0.1", strict.port)) as connection:
        connection.settimeout(10)
        begin = time.monotonic()
        connection.sendall(head)
        while time.monotonic() - begin < 0.6:
            time.sleep(0.2)
            connection.sendall(head[-1:])
        assert connection.recv(100) == b""
        assert 0.9 < time.monotonic() - begin < 5


def test_a_connection_may_be_used_again(strict: Any) -> None:
    with httpx.Client(base_url=strict.url) as http:
        for _ in range(2):
            assert http.get("/health/live").status_code == 200
            time.sleep(1.5)


def test_a_stream_has_time_for_its_start(strict: Any) -> None:
    with connect(strict.stream_url, additional_headers=KEY) as stream:
        time.sleep(1.5)
        stream.send('{"type": "start"}')
        assert json.loads(stream.recv())["type"] == "ready"


def test_rate_limit(start_server: Any, clip: Any) -> None:
    with start_server(rate_limit="2/minute", api_keys="one,two") as limited:

        def ask(key: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"}
            return httpx.post(f"{limited.url}/transcribe", content=clip.encoded(), headers=headers)

        assert [ask("one").status_code for _ in range(3)] == [200, 200, 429]
        answer = ask("one")
        check(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        with connect(limited.stream_url, additional_headers={"authorization": "Bearer one"}) as stream:
            error = json.loads(stream.recv())
            assert error["code"] == "rate_limited"
            assert 1 <= error["retry_after_seconds"] <= 60
            with pytest.raises(ConnectionClosed):
                stream.recv()
            assert stream.close_code == 1013
        assert ask("two").status_code == 200


def test_overloaded(start_server: Any, clip: Any) -> None:
    with start_server(max_files=1) as small, socket.create_connection(("127.0.0.1", small.port)) as holder:
        holder.sendall(b"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nRIFF")
        while small.gauge("asr_queue_depth") == 0:
            time.sleep(0.02)
        begin = time.monotonic()
        answer = httpx.post(f"{small.url}/transcribe", content=clip.encoded())
        # The holder keeps its place for much longer.
        assert time.monotonic() - begin < 5
        check(answer, 503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        holder.close()
        while small.gauge("asr_queue_depth") == 1:
            time.sleep(0.02)
        assert httpx.post(f"{small.url}/transcribe", content=clip.encoded()).status_code == 200


async def test_loading(model_file: Any, clip: Any) -> None:
    """An application whose lifespan has not begun is still loading."""
    transport = httpx.ASGITransport(create_app(Settings(model=str(model_file))))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        for answer in (await http.post("/transcribe", content=clip.encoded()), await http.get("/health/ready")):
            check(answer, 503, "loading")
            assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/health/live")).status_code == 200


def test_loading_streams(model_file: Any) -> None:
    http = TestClient(create_app(Settings(model=str(model_file))))
    with http.websocket_connect("/stream", subprotocols=["onebit.v1"]) as stream:
        error = stream.receive_json()
        assert (error["type"], error["code"]) == ("error", "loading")
        assert error["retry_after_seconds"] > 0
        assert stream.receive()["code"] == 1013
