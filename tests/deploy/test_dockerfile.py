"""The Dockerfile and what reaches its build; tests/system/test_image.py builds and runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_hadolint_is_content() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_names_a_processor() -> None:
    instructions = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in instructions if "amd64" in line or "x86" in line or "arm" in line]


def test_context_holds_what_the_wheel_is_made_of() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / path).exists() for path in kept)
    assert {"pyproject.toml", "kernels", "model/onebit_model", "service/onebit_service", "LICENSE", "NOTICE"} <= kept
    assert not {path for path in kept if path.startswith(("tests", "deploy", "runs", ".git"))}
