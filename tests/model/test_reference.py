from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onebit_model.errors import UnknownSetError
from onebit_model.normalization import normalise
from onebit_model.reference import ROOT, read_set, reference_sets, set_name

SIZES = {"common-voice": (201, 45), "librispeech-other": (100, 10), "ljspeech": (385, 1)}


def test_shipped_sets_are_whole() -> None:
    assert reference_sets() == tuple(SIZES)
    for name, (clips, speakers) in SIZES.items():
        utterances = read_set(name)
        assert len(utterances) == clips
        assert len({u.speaker for u in utterances}) == speakers
        assert all(normalise(u.text) == u.text for u in utterances)
        assert (ROOT / name / "ATTRIBUTION").read_text().strip()


@pytest.mark.parametrize("name", SIZES)
def test_clips_are_speech_of_the_stated_length(name: str) -> None:
    for utterance in read_set(name)[:3]:
        samples = utterance.audio.read()
        assert samples.dtype == np.float32
        assert len(samples) / 16_000 == pytest.approx(utterance.duration_seconds, abs=0.05)
        assert samples.std() > 0.005


def test_a_folder_with_a_manifest_is_a_set(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16_000)
    row = {"id": "a", "audio": "a.wav", "text": "nothing", "duration": 0.1, "speaker": "s"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    for path in (tmp_path, tmp_path / "mine.jsonl"):
        (utterance,) = read_set(str(path))
        assert (utterance.text, len(utterance.audio.read())) == ("nothing", 1600)
    assert set_name(str(tmp_path / "mine.jsonl")) == "mine"


def test_what_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(UnknownSetError, match=r"no set 'nowhere'.*ljspeech"):
        read_set("nowhere")
    with pytest.raises(UnknownSetError, match="no set"):
        read_set(str(tmp_path))
    for content in ("", "{", '{"id": "a"}', '{"id": "a", "archive": "gone.tar"}'):
        (tmp_path / "bad.jsonl").write_text(content)
        with pytest.raises(UnknownSetError, match="bad"):
            read_set(str(tmp_path / "bad.jsonl"))
