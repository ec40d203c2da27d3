"""schemathesis sends what the OpenAPI document allows, and what it does not, and finds nothing to complain about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

# A schema cannot say what is audio, so most uploads that it allows are refused as what they are.
CONFIGURATION = """
[[operations]]
include-path = ["/transcribe", "/v1/audio/transcriptions"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 415, 422]
"""


def test_schemathesis_finds_nothing(server: Any, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "run", f"{server.url}/openapi.json", "--max-examples", "25", "--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-6000:]


def test_document_names_every_route(server: Any) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert set(document["paths"]) == {
        "/health/live",
        "/health/ready",
        "/metrics",
        "/transcribe",
        "/v1/audio/transcriptions",
        "/v1/models",
        "/v1/models/{name}",
    }
    transcribe = document["paths"]["/transcribe"]["post"]
    assert {parameter["name"] for parameter in transcribe["parameters"]} == {
        "bits",
        "format",
        "timestamps",
        "channel",
        "chunk",
        "hotwords",
        "decoder",
        "beam",
        "max_line_width",
        "max_line_count",
    }
