"""`onebit bench calibration`: from a packed file and labelled clips to the same file with its maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from scripted_model import write_ctc_model, write_scripted_model
from typer.testing import CliRunner

from onebit_model.data.reference import read_set
from onebit_model.files.packed import read_packed
from onebit_service.commands.cli import app


def command(folder: Path, model: str) -> list[str]:
    rows = []
    for number, utterance in enumerate([u for u in read_set("librispeech-other") if u.duration_seconds < 5][:4]):
        soundfile.write(folder / f"{number}.wav", utterance.audio.read(), 16_000)
        said = "hello he is five" if number % 2 else "hello it is nine"
        rows.append({"id": str(number), "audio": f"{number}.wav", "text": said, "duration": 4.0})
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(folder / model), "--set", str(folder / "dev.jsonl"), "--out", str(folder / "out")]
    return ["bench", "calibration", *files]


def test_the_file_gets_its_maps_and_stays_what_it_is(tmp_path: Path) -> None:
    write_scripted_model(tmp_path / "model", "Hello, it is 5.")
    done = CliRunner().invoke(app, command(tmp_path, "model"))
    assert done.exit_code == 0, done.output
    # Three of four words are right, whatever probability they have: all but 1.
    assert [line.split("|")[2:4] for line in done.stdout.splitlines()[2:]] == 3 * [[" 16 ", " 75.0 "]]
    before, after = read_packed(tmp_path / "model"), read_packed(tmp_path / "out")
    assert all(points[-1][1] == 0.75 for points in after.description.calibration.maps.values())
    assert set(after.description.calibration.maps) == {1, 2, 4}
    assert after.description.allocation == before.description.allocation
    assert all(np.array_equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())


def test_what_has_no_decoder_has_no_calibration(tmp_path: Path) -> None:
    write_ctc_model(tmp_path / "model")
    done = CliRunner().invoke(app, command(tmp_path, "model"))
    assert done.exit_code == 1
    assert "no attention decoder" in done.stderr
    assert not (tmp_path / "out").exists()
