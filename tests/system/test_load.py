"""The load generators on a real server: bounded, short, and with the promises that hold under any load."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loadtests import sizing
from loadtests.server import Server, server_under_test
from loadtests.speech import BYTES_PER_SECOND, pcm_clips
from loadtests.wire import connect, frame, text_frame

ROOT = Path(__file__).parents[2]
STREAMS = 50
DRAIN_SECONDS = 10

pytestmark = pytest.mark.timeout(300)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*arguments], cwd=ROOT, capture_output=True, text=True, check=False, **options)


def test_streams_in_real_time(tmp_path: Path) -> None:
    reports = tmp_path / "reports.json"
    done = run(
        *(sys.executable, "-m", "loadtests.streams", "--streams", "4", "--seconds", "3", "--clip-seconds", "2"),
        *("--bits", "4", "--packet-ms", "20", "--bound-ms", "5000", "--json", str(reports)),
    )
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(reports.read_text())
    assert (report["lost"], report["refused"], report["within_bound"]) == (0, 0, True), done.stdout
    assert 4 <= report["measured"] <= report["finished"]
    assert 0 < report["server_cpu_seconds_per_stream_second"] < 1
    assert "carried within the bound: 4 streams" in done.stdout


def test_files(tmp_path: Path) -> None:
    reports = tmp_path / "report.json"
    options = ("--bits", "4", "--file-seconds", "40", "--seconds", "2", "--at-once", "2", "--json", str(reports))
    done = run(sys.executable, "-m", "loadtests.files", *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(reports.read_text())
    assert (report["failed"], report["bits"]) == (0, 4)
    assert report["audio_hours_per_hour"] > 1


def test_twice_the_capacity(tmp_path: Path) -> None:
    """All at once: nobody is lost, and all refusals say when to come again. The load takes the processor from the
    server, so how soon they come is asserted where one comes at a time (tests/service/test_overload.py).
    """
    reports = tmp_path / "reports.json"
    options = ("--capacity", "8", "--seconds", "5", "--file-seconds", "30", "--json", str(reports))
    done = run(sys.executable, "-m", "loadtests.overload", *options)
    assert done.returncode == 0, done.stderr
    for kind, report in json.loads(reports.read_text()).items():
        assert (report["lost"], report["without_hint"]) == (0, 0), done.stdout
        assert report["refused"] >= 50, done.stdout
        assert report["served"] >= 8, done.stdout
        assert report["refused_max_ms"] < 2000, (kind, done.stdout)


def test_tables_of_the_sizing_guide(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same program, on less of everything."""
    less = {"SECONDS": 1.0, "CLIP_SECONDS": 1.0, "BOUND_SECONDS": 5.0, "FILE_SECONDS": 20.0, "UPLOAD_SECONDS": 1.0}
    for name, value in (less | {"MANY_STREAMS": 3, "STREAM_ROWS": ((1, 8, 100), (4, 16, 20))}).items():
        monkeypatch.setattr(sizing, name, value)
    monkeypatch.setattr(sys, "argv", ["sizing", "--first", "2", "--trials", "1"])
    sizing.main()
    printed = capsys.readouterr().out
    assert re.search(
        r"^\| 1 bit \| 8 \| 100 ms \| 2 \| \d+ / \d+ ms \| \d+ / \d+ ms \| 0\.\d+ \| \d+ \|$", printed, re.M
    )
    assert re.search(r"^\| 4 bit \| 16 \| 20 ms \| 2 \|", printed, re.M)
    assert re.search(r"^\| 2 bit \| \d+ \| \d+ \| \d+ \|$", printed, re.M)
    assert re.search(r"^\| 3 streams \| \d+ \|$", printed, re.M)


def test_soak_keeps_count() -> None:
    """Seconds are too short to judge memory, which the line may complain about; everything else holds at once."""
    done = run(sys.executable, "-m", "loadtests.soak", "--minutes", "0.3", "--streams", "4", "--files", "1")
    broken = [line for line in done.stdout.splitlines() if line.startswith("broken: ")]
    assert [line for line in broken if line != "broken: memory grows"] == [], done.stdout + done.stderr
    assert re.search(r"[1-9]\d* streams", done.stdout), done.stdout
    assert "slope" in done.stdout


def test_locust() -> None:
    locust = str(Path(sys.executable).with_name("locust"))
    with server_under_test(None, reference_interval_seconds=0) as server:
        options = ("--headless", "-u", "4", "-r", "4", "-t", "15s", "--stop-timeout", "30", "--only-summary")
        environment = os.environ | {"ONEBIT_LOAD_BOUND_MS": "5000"}
        done = run(
            *(locust, "-f", "loadtests/locustfile.py", "--host", server.url, *options), timeout=120, env=environment
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "streams carried on average" in done.stdout
    assert "bound 5000 ms: kept" in done.stdout


class Speaker:
    """A stream that is in the middle of something when the server is told to end."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.code = 0

    async def speak(self, server: Server, pcm: bytes, listening: asyncio.Event, stops: bool) -> None:
        """Half the clip before the signal; afterwards the rest in real time, or nothing but staying connected."""
        wire = await connect(server.address, lambda message, _: self.messages.append(message))
        wire.send(text_frame(type="start", bits=1))
        half = len(pcm) // 2
        wire.send(frame(pcm[:half]))
        await listening.wait()
        if stops:
            packet = BYTES_PER_SECOND // 10
            for at in range(half, len(pcm), packet):
                wire.send(frame(pcm[at : at + packet]))
                await asyncio.sleep(0.1)
            wire.send(text_frame(type="stop"))
        self.code = await asyncio.wait_for(wire.closed, DRAIN_SECONDS + 20)


async def ready_status(server: Server) -> int:
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def test_sigterm_during_50_streams() -> None:
    """All get their final text or an explicit 1012, within the time for it; readiness goes first."""
    clips = [clip for clip in pcm_clips(40) if 3 * BYTES_PER_SECOND < len(clip) < 7 * BYTES_PER_SECOND]
    with server_under_test(None, reference_interval_seconds=0, drain_seconds=DRAIN_SECONDS) as server:
        assert server.process is not None
        signalled = asyncio.Event()
        speakers = [Speaker() for _ in range(STREAMS)]
        # Every fifth client never stops: it has to be told.
        talks = [
            asyncio.create_task(speaker.speak(server, clips[n % len(clips)], signalled, stops=n % 5 != 0))
            for n, speaker in enumerate(speakers)
        ]
        while not all(speaker.messages for speaker in speakers):
            await asyncio.sleep(0.05)
        begin = time.monotonic()
        server.process.terminate()
        await asyncio.sleep(0.5)
        assert await ready_status(server) == 503
        assert server.process.poll() is None
        signalled.set()
        await asyncio.gather(*talks)
        assert await asyncio.to_thread(server.process.wait, 30) == 0
        assert time.monotonic() - begin < DRAIN_SECONDS + 10
    for number, speaker in enumerate(speakers):
        last = speaker.messages[-1]
        if number % 5:
            assert (speaker.code, last["type"]) == (1000, "done"), speaker.messages
            assert any(message["type"] == "final" for message in speaker.messages)
        else:
            assert (speaker.code, last["type"], last["code"]) == (1012, "error", "draining")
