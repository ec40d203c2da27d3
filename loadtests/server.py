"""The server that is loaded: started here, or one that runs already. Loopback only."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

START_SECONDS = 60.0
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Figures:
    """What the server says about itself at one moment."""

    cpu_seconds: float
    resident_bytes: float
    streams_active: float


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def samples(self) -> dict[str, float]:
        """Series without labels, by name."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {s.name: s.value for family in families for s in family.samples if not s.labels}

    def figures(self) -> Figures:
        found = self.samples()
        return Figures(
            found["process_cpu_seconds_total"], found["process_resident_memory_bytes"], found["asr_streams_active"]
        )

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self.ready():
            if time.monotonic() > end or (self.process and self.process.poll() is not None):
                raise SystemExit(f"{self.url} is not ready")
            time.sleep(0.1)

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


def require_loopback(url: str) -> None:
    """Load goes to this machine only, whatever is typed."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    raise SystemExit(f"{url}: load is sent to loopback addresses only; run the test on the server's own machine")


@contextmanager
def server_under_test(url: str | None, cpus: Sequence[int] = (), **settings: object) -> Iterator[Server]:
    """The server at `url`, or one of our own with these settings, on these processors."""
    if url:
        require_loopback(url)
        server = Server(url.rstrip("/"))
        server.wait_until_ready()
        yield server
        return
    with tempfile.TemporaryFile() as log:
        server = _start(cpus, log.fileno(), settings)
        try:
            server.wait_until_ready()
            yield server
        finally:
            assert server.process is not None
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()
            if server.process.returncode not in (0, -signal.SIGKILL):
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace")[-5000:])


def _start(cpus: Sequence[int], log: int, settings: dict[str, object]) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {f"ONEBIT_{name.upper()}": str(value) for name, value in settings.items()}
    pinned = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
    process = subprocess.Popen(
        [*pinned, sys.executable, "-m", "onebit_service", "serve", "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    return Server(f"http://127.0.0.1:{port}", process)


def cpu_list(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]
