from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onebit_model.data.reference import ROOT, read_set, read_sets, reference_sets, set_name
from onebit_model.errors import CorpusError, UnknownSetError
from onebit_model.text.normalization import normalise

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
    (tmp_path / "bad.jsonl").write_text("")
    with pytest.raises(UnknownSetError, match="the set is empty"):
        read_set(str(tmp_path / "bad.jsonl"))
    for content in ("{", '{"id": "a"}', '{"id": "a", "archive": "gone.tar"}'):
        (tmp_path / "bad.jsonl").write_text(content)
        with pytest.raises(CorpusError, match=r"bad\.jsonl: line 1"):
            read_set(str(tmp_path / "bad.jsonl"))


def write_manifest(path: Path, text: str = "nothing") -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"id": "a", "audio": "a.wav", "text": text, "duration": 0.1}) + "\n")
    return str(path)


@pytest.mark.parametrize("text", ["", " ", "..."])
def test_a_reference_without_words_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownSetError, match=r"ok\.jsonl: utterance a: its text has no word"):
        read_set(write_manifest(tmp_path / "ok.jsonl", text))


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = (write_manifest(tmp_path / folder / "ok.jsonl") for folder in ("a", "b"))
    with pytest.raises(UnknownSetError, match=r"b/ok\.jsonl and .*a/ok\.jsonl: both .* 'ok'"):
        read_sets([one, other])
    assert list(read_sets([one, str(tmp_path / "a" / ".." / "a" / "ok.jsonl"), "ljspeech"])) == ["ok", "ljspeech"]


def test_no_set_may_pass_for_a_shipped_one(tmp_path: Path) -> None:
    mine = write_manifest(tmp_path / "ljspeech.jsonl")
    with pytest.raises(UnknownSetError, match=r"ljspeech\.jsonl and ljspeech: both"):
        read_sets([mine])
    assert list(read_sets([str(ROOT / "ljspeech")])) == list(read_sets([str(ROOT / "ljspeech/ljspeech.jsonl")]))


def test_a_folder_named_by_dots_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    assert set_name(".") == set_name("inner/..") == tmp_path.name
