"""The wheel carries everything that serving needs and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    # In the build folder of the editable install: only what changed since is compiled.
    subprocess.run([*command, "--wheel-dir", str(out), str(ROOT)], check=True)
    (path,) = out.glob("onebit-*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.parametrize(
    "name",
    [
        "onebit_model/assets/model.onebit.safetensors",
        "onebit_model/reference_sets/ljspeech/ljspeech.0.tar",
        "onebit_model/reference_sets/ljspeech/ATTRIBUTION",
        "onebit_model/reference_sets/librispeech-other/librispeech-other.jsonl",
        "onebit_model/reference_sets/common-voice/common-voice.jsonl",
        "onebit_model/py.typed",
        "onebit_kernels/py.typed",
        "onebit_service/py.typed",
    ],
)
def test_contents(name: str, wheel: zipfile.ZipFile) -> None:
    assert name in wheel.namelist()


def test_native_module_and_licences(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.startswith("onebit_kernels/_core") and name.endswith(".so") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


def test_no_sources_of_the_core(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if name.endswith((".cpp", ".h", ".inc")) or "/src/" in name]
