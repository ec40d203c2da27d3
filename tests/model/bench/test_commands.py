"""Measurements by hand, each through its command, on as little as gives a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from onebit_model.data.reference import read_set
from onebit_service.commands.cli import app

FEW = "400"  # one clip of each shipped set


def cells(output: str) -> dict[str, list[str]]:
    """The rows of a Markdown table by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def run(*arguments: str) -> dict[str, list[str]]:
    done = CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return cells(done.output)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    clip = read_set("ljspeech")[1]
    soundfile.write(folder / "clip.wav", clip.audio.read(), 16_000)
    row = {"id": "clip", "audio": "clip.wav", "text": clip.text, "duration": clip.duration_seconds}
    (folder / "clips.jsonl").write_text(json.dumps(row) + "\n")
    return folder / "clips.jsonl"


def test_recognizers() -> None:
    rows = run("recognizers", "--stride", FEW)
    for bits in (1, 2, 4):
        errors, cost, less, peak = rows[f"onebit, {bits} bit"]
        assert float(errors) < 100
        assert less == ""  # no Whisper is there to compare with
        assert 0 < float(cost) < 1
        assert float(peak) > 50


def test_robustness(tmp_path: Path) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.05, 3 * 16_000)
    soundfile.write(tmp_path / "hiss.wav", hiss, 16_000)
    rows = run("robustness", str(tmp_path), "--stride", FEW)
    assert rows[""] == ["1 bit", "2 bit", "4 bit"]
    clean, noisy = (list(map(float, rows[f"{name}, word errors %"])) for name in ("clean", "noise at 10 dB"))
    assert sum(noisy) > sum(clean) > 0
    assert len(rows) == 2 + 3 + 2 + 4


def test_hotword_recall(manifest: Path, tmp_path: Path) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(clip.text for clip in read_set("ljspeech")[2:40]))
    rows = run("hotword-recall", str(sentences), str(manifest))
    found, plain = (rows[f"beam 16, language model{more}"][1] for more in (", hotwords", ""))
    assert int(found.split()[0]) >= int(plain.split()[0])
    assert len(rows) == 2 + 9 + 8


def test_evaluate_uses_the_search_that_serves(manifest: Path) -> None:
    options = ["evaluate", "--set", str(manifest), "--bits", "4", "--markdown"]
    headings = [
        CliRunner().invoke(app, [*options, *more]).output.splitlines()[0]
        for more in ([], ["--decoder", "ctc"], ["--decoder", "ctc", "--beam", "1"])
    ]
    for heading, search in zip(headings, ("attention, ", "beam 16, language model, ", "3"), strict=True):
        assert heading.startswith(f"| set | 4 bit, {search}"), heading
