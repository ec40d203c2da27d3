"""From the command line to a serving process and back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import certifi
import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from onebit_service.errors import ListenError, SettingError
from onebit_service.server.application import create_app
from onebit_service.server.listening import bound_listener, curl_line
from onebit_service.server.running import serve
from onebit_service.settings import Settings


def onebit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onebit_service", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | environment, check=False
    )


def test_serving_needs_no_torch(model_file: Path, clip: Any, tmp_path: Path) -> None:
    audio = tmp_path / "speech.wav"
    audio.write_bytes(clip.encoded())
    program = textwrap.dedent(f"""
        import sys, asyncio, httpx
        from onebit_service.server.application import create_app
        from onebit_service.settings import Settings

        async def main():
            app = create_app(Settings(model={str(model_file)!r}))
            async with app.router.lifespan_context(app):
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                    while (await http.get("/health/ready")).status_code != 200:
                        await asyncio.sleep(0.05)
                    answer = await http.post("/transcribe", content=open({str(audio)!r}, "rb").read())
                    assert answer.status_code == 200, answer.text

        asyncio.run(main())
        print(sorted({{"torch", "torchaudio", "sentencepiece", "tokenizers"}} & set(sys.modules)))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"", "empty"),
        (lambda data: b"GGUF" + data[4:], "not a safetensors file"),
        (lambda data: data.replace(b'"format":"onebit"', b'"format":"twobit"'), "not one of onebit"),
        (lambda data: re.sub(b'"version":"[12]"', b'"version":"9"', data, count=1), "newer"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "SHA-256"),
    ],
)
def test_bad_model_files(model_file: Path, tmp_path: Path, damage: Any, complaint: str) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(damage(model_file.read_bytes()))
    done = onebit("serve", "--model", str(bad), "--port", "0")
    assert done.returncode == 1
    assert str(bad) in done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_model_file_and_bad_settings(model_file: Path) -> None:
    assert "there is no model file" in onebit("serve", "--model", "/nowhere").stderr
    assert "ONEBIT_MAX_STREAMS" in onebit("serve", ONEBIT_MAX_STREAMS="many").stderr
    assert "ONEBIT_LOG_LEVEL" in onebit("serve", ONEBIT_LOG_LEVEL="loud").stderr
    done = onebit("serve", "--model", str(model_file), ONEBIT_ISA="z80")
    assert done.returncode == 1
    assert "z80" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ffmpeg", "/nowhere/ffmpeg"),
        ("ffmpeg", __file__),
        ("rate_limit", "0/minute"),
        ("rate_limit", "often"),
        ("rate_limit", "5/minute;9/hour"),
        ("reference_sets", "ljspeech,nothing"),
        ("api_keys_file", "/nowhere/keys"),
        ("api_keys_file", "{keys}"),
        ("isa", "z80"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, name: str, value: str) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(b"caf\xe9\n")
    with pytest.raises(SettingError, match=f"ONEBIT_{name.upper()}: "):
        create_app(Settings.from_environment({f"ONEBIT_{name.upper()}": value.format(keys=keys)}))


def test_an_option_is_named_as_it_was_given() -> None:
    assert onebit("serve", "--port", "1e3").stderr == "error: --port: '1e3' is not a whole number\n"
    assert onebit("serve", "--default-bits", "3").stderr == "error: --default-bits: 3 must be 1, 2 or 4\n"


@pytest.mark.parametrize("at_fault", ["tls_cert", "tls_key"])
@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_certificates_that_cannot_be_used(tmp_path: Path, at_fault: str, kind: str) -> None:
    bad = tmp_path / kind
    if kind == "folder":
        bad.mkdir()
    elif kind == "text":
        bad.write_text("hello")
    files = {"tls_cert": certifi.where(), "tls_key": certifi.where()} | {at_fault: str(bad)}
    with pytest.raises(SettingError, match=f"{at_fault.upper()}: {bad}: "):
        serve(create_app(Settings(port=0, **files)))  # type: ignore[arg-type]


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = onebit("serve", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("host", ["203.0.113.1", "::2", 64 * "a", "two..dots"])
def test_hosts_that_are_not_here(host: str) -> None:
    with pytest.raises(ListenError, match="cannot listen on "):
        bound_listener(host, 0)


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1:9"), ("::", "[::1]:9"), ("fe80::1", "[fe80::1]:9"), ("box", "box:9")]
)
def test_curl_line(host: str, shown: str) -> None:
    assert f"http://{shown}/transcribe" in curl_line(Settings(host=host), 9)


def test_empty_options_and_any_port(model_file: Path) -> None:
    """As `--host "$UNSET"` gives them. The line to try has the port that was found."""
    command = [sys.executable, "-m", "onebit_service", "serve", "--host", "", "--model", "", "--port", "0"]
    with subprocess.Popen(
        command, env=os.environ | {"ONEBIT_MAX_STREAM": "3"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", program.stdout.readline())
        assert found
        assert httpx.get(f"http://127.0.0.1:{found[1]}/health/live").status_code == 200
        program.send_signal(signal.SIGTERM)
        _, log = program.communicate(timeout=60)
    events = [json.loads(line) for line in log.splitlines()]
    assert [event["variable"] for event in events if event["event"] == "unknown_setting"] == ["ONEBIT_MAX_STREAM"]


@pytest.mark.parametrize("is_busy", [False, True])
def test_two_interrupts_end_quietly(start_server: Any, encoded: Any, is_busy: bool) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 16_000 * 1800).astype(np.float32)
    with start_server() as server:
        data = encoded(noise, 16_000)
        ask = lambda: httpx.post(f"{server.url}/transcribe", content=data, timeout=60)  # noqa: E731
        upload = threading.Thread(target=ask)
        if is_busy:
            upload.start()
            while server.gauge("asr_queue_depth") == 0:
                time.sleep(0.02)
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        assert server.process.wait(20) == 0
        if is_busy:
            upload.join()
        events = [json.loads(line) for line in server.log.read_text().splitlines() if not line.startswith("Try:")]
        assert {event["level"] for event in events} == {"info"}


def test_transcribe_names_the_file_at_fault(clip: Any, tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(clip.encoded())
    (tmp_path / "bad.wav").write_text("hello")
    (tmp_path / "empty.wav").touch()
    for name, complaint in (("bad.wav", "not audio"), ("empty.wav", "there is no audio")):
        done = onebit("transcribe", "--model", "", str(tmp_path / "good.wav"), str(tmp_path / name))
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {tmp_path / name}: ")
        assert complaint in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["transcribe", "stream"])
@pytest.mark.parametrize("output", ["full disk", "closed pipe"])
def test_output_that_cannot_be_written(server: Any, clip: Any, tmp_path: Path, command: str, output: str) -> None:
    audio = tmp_path / "speech.wav"
    audio.write_bytes(clip.encoded())
    options = ["--url", server.stream_url] if command == "stream" else []
    read_end, write_end = os.pipe()
    os.close(read_end)
    with Path("/dev/full").open("wb") if output == "full disk" else os.fdopen(write_end, "wb") as target:
        done = subprocess.run(
            [sys.executable, "-m", "onebit_service", command, str(audio), *options],
            stdout=target,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == ("error: No space left on device\n" if output == "full disk" else "")


def test_transcribe_command(model_file: Path, clip: Any, recognizer: Any, tmp_path: Path) -> None:
    audio = tmp_path / "speech.flac"
    audio.write_bytes(clip.encoded(format="FLAC"))
    done = onebit("transcribe", str(audio), "--bits", "1", "--model", str(model_file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        w for segment in recognizer.transcribe(clip.samples, 1) for w in segment.text.split()
    ]
    done = onebit("transcribe", str(tmp_path / "none.wav"), "--model", str(model_file))
    assert done.returncode == 1
    assert "No such file" in done.stderr


def test_transcribe_command_with_hotwords(boosted: Any, recognizer: Any, model_file: Path, tmp_path: Path) -> None:
    audio = tmp_path / "speech.wav"
    audio.write_bytes(boosted.clip.encoded(subtype="FLOAT"))
    command = [sys.executable, "-m", "onebit_service", "transcribe", str(audio), "--model", str(model_file)]
    command += ["--decoder", "ctc"]
    first, *rest = boosted.hotwords
    hotwords = ["--hotwords", first, "--hotwords", ",".join(rest)]
    done = subprocess.run([*command, *hotwords, "--beam", "8"], capture_output=True, text=True, check=True)
    heard = recognizer.transcribe(boosted.clip.samples, 4, 0, recognizer.search(8, boosted.hotwords, "ctc"))
    assert done.stdout == "".join(f"{segment.text}\n" for segment in heard)
    for options, complaint in ((["--beam", "40"], "from 1 to 32"), ([*hotwords, "--beam", "1"], "2 or more")):
        failed = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert failed.stderr.startswith("error: ")
        assert complaint in failed.stderr
        assert failed.stderr.count("\n") == 1


def test_prints_the_line_to_try(start_server: Any) -> None:
    with start_server() as server:
        assert f"curl -F file=@speech.wav 'http://127.0.0.1:{server.port}/transcribe?bits=1'" in server.log.read_text()


def test_sigterm_finishes_what_runs(start_server: Any, clip: Any) -> None:
    with start_server() as server:
        answers: list[httpx.Response] = []

        def slowly() -> Any:
            data = clip.encoded()
            yield data[: len(data) // 2]
            time.sleep(2)
            yield data[len(data) // 2 :]

        upload = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{server.url}/transcribe", content=slowly()))
        )
        upload.start()
        while server.gauge("asr_queue_depth") == 0:
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        ready = httpx.get(f"{server.url}/health/ready")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
        refused = httpx.post(f"{server.url}/transcribe", content=clip.encoded())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["retry-after"]
        upload.join()
        assert answers[0].status_code == 200
        assert server.process.wait(10) == 0


async def test_sigterm_and_streams(start_server: Any, clip: Any) -> None:
    """One stream stops in time, one never does, and one never even begins."""
    with start_server(drain_seconds=2) as server:
        async with (
            connect(server.stream_url, subprotocols=["onebit.v1"]) as good,
            connect(server.stream_url, subprotocols=["onebit.v1"]) as endless,
            connect(server.stream_url, subprotocols=["onebit.v1"]) as silent,
        ):
            for stream in (good, endless):
                await stream.send(json.dumps({"type": "start"}))
                assert json.loads(await stream.recv())["type"] == "ready"
                await stream.send(clip.pcm)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.4)
            async with connect(server.stream_url, subprotocols=["onebit.v1"]) as late:
                assert json.loads(await late.recv())["code"] == "draining"
                await late.wait_closed()
                assert late.close_code == 1012
            await good.send(json.dumps({"type": "stop"}))
            assert [m["type"] for m in await received(good)][-2:] == ["final", "done"]
            last = (await received(endless))[-1]
            assert (last["type"], last["code"]) == ("error", "draining")
            assert endless.close_code == 1012
            await received(silent)
            assert silent.close_code == 1012
        assert await asyncio.to_thread(server.process.wait, 10) == 0


async def received(connection: Any) -> list[dict[str, Any]]:
    messages = []
    try:
        while True:
            messages.append(json.loads(await connection.recv()))
    except ConnectionClosed:
        return messages


def test_a_file_that_does_not_finish_in_time(start_server: Any, encoded: Any) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 16_000 * 3600).astype(np.float32)
    with start_server(drain_seconds=0.5) as server:
        answers: list[httpx.Response] = []
        ask = lambda: answers.append(httpx.post(f"{server.url}/transcribe", content=encoded(noise, 16_000), timeout=60))  # noqa: E731
        upload = threading.Thread(target=ask)
        upload.start()
        while server.gauge("asr_queue_depth") == 0:
            time.sleep(0.02)
        assert server.terminate() == 0
        upload.join()
        assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "draining")


def test_process_collectors_are_on(server: Any) -> None:
    text = server.metrics()
    for name in ("process_resident_memory_bytes", "asr_model_bytes", "asr_build_info", "asr_streams_max"):
        assert f"\n{name}" in text
