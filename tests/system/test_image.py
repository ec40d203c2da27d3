"""The image: every stage of the Dockerfile is built, on a base made from Debian's packages, and its service is run.

Needs root, for chroots and mounts, and Debian's archive and PyPI. What cannot be built here, the image for arm64, comes
from the same Dockerfile and is not tested.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CERTIFICATES = "/etc/ssl/certs"
UID = 10001
SPOOL_MEBIBYTES = 16

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="building in a chroot needs root"),
    pytest.mark.timeout(1200),
]


@dataclass(frozen=True)
class Buildah:
    storage: Path

    def __call__(self, *arguments: str) -> str:
        options = ["--storage-driver", "vfs", "--root", f"{self.storage}/root", "--runroot", f"{self.storage}/run"]
        environment = os.environ | {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.storage)}
        done = subprocess.run(
            ["buildah", *options, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        return done.stdout.strip()


@dataclass(frozen=True)
class Image:
    root: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def process(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Runs a command as the image's user on its read-only file system, with a bounded spool as compose gives it."""
        spool = f"{self.root}/var/spool/onebit"
        script = f"""
            mount --bind {self.root} {self.root}
            mount -o remount,bind,ro {self.root}
            mount -t tmpfs -o size={SPOOL_MEBIBYTES}m,mode=0700,uid={UID},gid={UID} tmpfs {spool}
            mount -t proc proc {self.root}/proc
            mount --bind /dev {self.root}/dev
            exec chroot --userspec={self.config["User"]} {self.root} "$@"
        """
        given = ["/usr/bin/env", "-i", *(f"{k}={v}" for k, v in (self.environment | environment).items())]
        return subprocess.Popen(
            ["unshare", "--mount", "bash", "-euc", script, "image", *given, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.process(*command, **environment)
        output, _ = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, output.decode())


def make_base(buildah: Buildah, work: Path) -> str:
    """What debian:bookworm-slim holds, with Python and certificates; made in seconds, from Debian's archive alone."""
    archive = work / "base.tar"
    slim = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,python3", *slim]
    # The machine's own list of archives, so that a mirror or proxy it is set up for is used.
    subprocess.run([*command, "bookworm", str(archive)], check=True)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(archive), "/")
    archive.unlink()
    name = "localhost/debian:bookworm-slim"
    buildah("commit", "--quiet", "--rm", container, name)
    return name


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    work = tmp_path_factory.mktemp("image")
    buildah = Buildah(work)
    base = make_base(buildah, work)
    options = ["--format", "docker", "--layers=false", "--pull-never", "--build-arg", f"BASE_IMAGE={base}"]
    # Where a proxy answers for PyPI, only this machine's certificates know it.
    certificates = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    begin = time.monotonic()
    buildah("bud", *options, *certificates, "--build-arg", "REVISION=test", "--tag", "localhost/onebit", ".")
    print(f"built in {time.monotonic() - begin:.0f} s")
    container = buildah("from", "--pull-never", "localhost/onebit")
    config = json.loads(buildah("inspect", "--type", "image", "localhost/onebit"))["Docker"]["config"]
    yield Image(Path(buildah("mount", container)), config)
    buildah("umount", container)
    shutil.rmtree(work)


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[bytes]
    url: str

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False


@pytest.fixture(scope="module")
def served(image: Image) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*image.config["Entrypoint"], *image.config["Cmd"]]
    process = image.process(
        *command, ONEBIT_HOST="127.0.0.1", ONEBIT_PORT=str(port), ONEBIT_REFERENCE_INTERVAL_SECONDS="0"
    )
    served = Served(process, f"http://127.0.0.1:{port}")
    try:
        end = time.monotonic() + 60
        while not served.ready():
            assert process.poll() is None, process.stdout.read().decode() if process.stdout else ""
            assert time.monotonic() < end
            time.sleep(0.2)
        yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def clip() -> bytes:
    with tarfile.open(ROOT / "model/onebit_model/reference_sets/ljspeech/ljspeech.0.tar") as archive:
        member = archive.extractfile("LJ001-0002.opus")
        assert member is not None
        return member.read()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_clip_is_transcribed(served: Served, bits: int, tmp_path: Path) -> None:
    """To what the same model hears outside the image."""
    file = tmp_path / "clip.opus"
    file.write_bytes(clip())
    command = [sys.executable, "-m", "onebit_service", "transcribe", str(file), "--bits", str(bits)]
    outside = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    request = urllib.request.Request(f"{served.url}/transcribe?bits={bits}", data=clip())
    with urllib.request.urlopen(request, timeout=60) as answer:
        document = json.load(answer)
    assert document["text"].split() == outside
    assert document["bits"] == bits
    assert document["duration_seconds"] == pytest.approx(1.9, abs=0.1)


def test_the_service_runs_as_its_own_user(served: Served) -> None:
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    users = next(line for line in status.splitlines() if line.startswith("Uid:"))
    assert users.split()[1:] == [str(UID)] * 4


def test_health_check_tells_health(image: Image, served: Served) -> None:
    check = image.config["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert image.run(*check[1:], HEALTH_URL=f"{served.url}/health/live").returncode == 0
    assert image.run(*check[1:], HEALTH_URL=f"{served.url}/none").returncode != 0


def test_nothing_can_be_written_but_the_bounded_spool(image: Image) -> None:
    assert "Read-only file system" in image.run("sh", "-c", "touch /var/x").stdout + image.run("touch", "/tmp/x").stdout
    spool = image.environment["TMPDIR"]
    assert image.run("touch", f"{spool}/x").returncode == 0
    too_much = image.run("dd", "if=/dev/zero", f"of={spool}/x", "bs=1M", f"count={SPOOL_MEBIBYTES + 1}")
    assert "No space left" in too_much.stdout


def test_no_compiler_no_torch_no_installer(image: Image) -> None:
    found = [
        name for name in ("gcc", "g++", "cc", "make", "pip", "pip3", "curl") if (image.root / "usr/bin" / name).exists()
    ]
    assert found == []
    packages = {path.name for path in image.root.glob("opt/onebit/lib/python3*/site-packages/*")}
    assert {"onebit_service", "onebit_model", "onebit_kernels"} <= packages
    assert not {name for name in packages if name.startswith(("torch", "pip", "sentencepiece", "tokenizers", "nvidia"))}
    assert not (image.root / "source").exists()


def test_user_is_fixed_and_unprivileged(image: Image) -> None:
    assert image.config["User"] == f"{UID}:{UID}"
    assert image.config["StopSignal"] in ("SIGTERM", "15")
    owned = [path for path in (image.root / "opt/onebit").rglob("*") if path.lstat().st_uid != 0]
    assert owned == []


def test_labels(image: Image) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in image.config["Labels"].items()}
    assert labels["title"] == "onebit"
    assert labels["revision"] == "test"
    assert labels["version"] in (ROOT / "pyproject.toml").read_text()


def test_it_speaks_to_home_assistant(image: Image) -> None:
    with image.process(*image.config["Entrypoint"], "wyoming", "--uri", "tcp://127.0.0.1:0") as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith(b"Wyoming: "))
            port = int(line.rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rb") as answer:
                connection.sendall(b'{"type": "describe"}\n')
                header = json.loads(answer.readline())
                info = json.loads(answer.read(header["data_length"]))
        finally:
            process.terminate()
    assert header["type"] == "info"
    assert [model["name"] for model in info["asr"][0]["models"]] == ["onebit-4bit", "onebit-1bit", "onebit-2bit"]


def test_size(image: Image) -> None:
    """Not torch's gigabytes; the figure is printed for docs/deployment.md."""
    total = sum(path.lstat().st_size for path in image.root.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{total / 1e6:.0f} MB")
    assert total < 500e6


def test_it_ends_when_told(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(45) == 0
