"""From the command line to a serving process and back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


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
        from onebit_service.application import create_app
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
        print(sorted({{"torch", "torchaudio", "sentencepiece"}} & set(sys.modules)))
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
        (lambda data: data.replace(b'"version":"1"', b'"version":"9"'), "newer"),
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
    first, *rest = boosted.hotwords
    hotwords = ["--hotwords", first, "--hotwords", ",".join(rest)]
    done = subprocess.run([*command, *hotwords, "--beam", "8"], capture_output=True, text=True, check=True)
    heard = recognizer.transcribe(boosted.clip.samples, 4, 0, recognizer.search(8, boosted.hotwords))
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
