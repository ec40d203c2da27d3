"""A real server process, real speech, and the shipped model."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from onebit_model.data.reference import read_set
from onebit_model.files.assets import SHIPPED_MODEL
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segment import Segment

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripted_model import write_scripted_model

START_SECONDS = 60.0
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A real utterance: what is said, and its samples at 16 kHz."""

    text: str
    samples: Samples

    def encoded(self, **options: object) -> bytes:
        return encode(self.samples, 16_000, **options)

    @property
    def pcm(self) -> bytes:
        return (np.clip(self.samples, -1, 1) * 32767).astype("<i2").tobytes()

    @property
    def decoded(self) -> Samples:
        """What a server makes of `pcm`."""
        return np.frombuffer(self.pcm, "<i2").astype(np.float32) / 32768

    @property
    def seconds(self) -> float:
        return len(self.samples) / 16_000


def encode(samples: Samples, rate: int, format: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    """Short utterances of the shipped reference sets."""
    utterances = [u for u in read_set("librispeech-other") if 2.0 < u.duration_seconds < 8.0][:6]
    return [Clip(u.text, u.audio.read()) for u in utterances]


@pytest.fixture(scope="session")
def clip(clips: list[Clip]) -> Clip:
    return clips[0]


@pytest.fixture(scope="session")
def model_file() -> Path:
    return SHIPPED_MODEL


@pytest.fixture(scope="session")
def recognizer(model_file: Path) -> Recognizer:
    return Recognizer.load(model_file)


SCRIPT = "Hello, AT&T: it is 5 o'clock. Is it?"


@pytest.fixture(scope="session")
def writer(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose attention decoder writes SCRIPT whatever it hears."""
    path = tmp_path_factory.mktemp("scripted") / "model.onebit.safetensors"
    write_scripted_model(path, SCRIPT)
    with start_server(model=path, max_stream_wait_seconds=30) as running:
        yield running


@pytest.fixture(scope="session")
def script() -> str:
    return SCRIPT


@dataclass(frozen=True)
class Boosted:
    """A clip with hotwords that change what the CTC head hears in it, as a file and as a stream."""

    clip: Clip
    hotwords: list[str]

    def words(self, segments: Sequence[Segment]) -> str:
        return " ".join(segment.text for segment in segments if segment.words)


@pytest.fixture(scope="session")
def boosted(recognizer: Recognizer, clips: list[Clip]) -> Boosted:
    for clip in clips:
        found = Boosted(clip, sorted({word for word in clip.text.split() if len(word) > 3}))
        searches = [recognizer.search(*asked, decoder="ctc") for asked in ((), (16,), (None, found.hotwords))]
        files, streams = (
            [found.words(recognizer.transcribe(clip.decoded, 4, chunk, search)) for search in searches]
            for chunk in (0, 8)
        )
        if files[2] not in files[:2] and streams[2] not in streams[:2]:
            return found
    raise AssertionError("hotwords change nothing in any clip")


class Server:
    """`onebit serve` in a process of its own."""

    def __init__(self, log: Path, **settings: object) -> None:
        self.log = log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.stream_url = f"ws://{self.address}/stream"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ONEBIT_")}
        environment |= {f"ONEBIT_{name.upper()}": str(value) for name, value in settings.items()}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "onebit_service", "serve", "--port", str(self.port)],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics").text

    def gauge(self, name: str) -> float:
        line = next(line for line in self.metrics().splitlines() if line.startswith(f"{name} "))
        return float(line.split()[1])

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


StartServer = Callable[..., "contextlib.AbstractContextManager[Server]"]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> StartServer:
    @contextmanager
    def start(**settings: object) -> Iterator[Server]:
        server = Server(tmp_path_factory.mktemp("server") / "log", **{"model": model_file, **settings})
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.kill()

    return start


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Iterator[Server]:
    """One server for all tests that need nothing else. A slow machine must not refuse what comes at full speed."""
    with start_server(max_stream_wait_seconds=30) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http
