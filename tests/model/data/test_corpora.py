"""Corpora in each published layout, in miniature."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onebit_model.data.corpora import AudioSpan, normalise_conversation, read_corpus, read_manifests, select
from onebit_model.errors import CorpusError


def tone(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    columns = [0.3 * np.sin(2 * np.pi * 200 * (c + 1) * times) for c in range(channels)]
    return np.stack(columns, axis=1).astype(np.float32)


def test_manifest_with_archive(tmp_path: Path) -> None:
    encoded = io.BytesIO()
    soundfile.write(encoded, tone(1.0, 16_000), 16_000, format="OGG", subtype="OPUS")
    with tarfile.open(tmp_path / "c.0.tar", "w") as archive:
        member = tarfile.TarInfo("clip.opus")
        member.size = len(encoded.getvalue())
        archive.addfile(member, io.BytesIO(encoded.getvalue()))
    row = {"id": "clip", "archive": "c.0.tar", "text": "one", "duration": 1.0}
    (tmp_path / "c.jsonl").write_text(json.dumps(row | {"labels": "machine", "teacher_logprob": -0.5}))
    (clip,) = read_corpus(tmp_path, "manifest")
    assert (clip.corpus, clip.speaker, clip.labels) == ("c", "clip", "machine")
    assert len(clip.audio.read()) == 16_000
    assert select([clip], None, -0.3) == []
    assert select([clip], ["c"], -0.6) == [clip]


def test_manifest_with_files_is_resampled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", tone(0.5, 44_100, 2), 44_100)
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "a", "audio": "clip.wav", "text": "x", "duration": 0.5}))
    (clip,) = read_corpus(tmp_path / "m.jsonl", "manifest")
    assert len(clip.audio.read()) == 8000


def test_librispeech_layout(tmp_path: Path) -> None:
    chapter = tmp_path / "train-clean-100" / "19" / "198"
    chapter.mkdir(parents=True)
    soundfile.write(chapter / "19-198-0000.flac", tone(2.0, 16_000), 16_000)
    (chapter / "19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n")
    (clip,) = read_corpus(tmp_path / "train-clean-100", "librispeech")
    assert (clip.id, clip.speaker, clip.text) == ("19-198-0000", "19", "northanger abbey")
    assert clip.duration_seconds == pytest.approx(2.0)


def test_switchboard_layout(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sw02001.sph", tone(4.0, 8000, 2), 8000, format="NIST", subtype="ULAW")
    (tmp_path / "swb.stm").write_text(
        ";; a comment\n"
        "sw02001 A sw02001-A 0.50 1.50 <O,SW,M> HI UM [laughter] YEAH I'D LIKE TO TALK\n"
        "sw02001 B sw02001-B 2.00 3.00 <O,SW,F> (%hesitation) WELL-KNOWN\n"
        "sw02001 B sw02001-B 3.00 3.50 <O,SW,F> [noise]\n"
    )
    left, right = read_corpus(tmp_path, "switchboard")
    assert left.text == "hi um yeah i'd like to talk"
    assert right.text == "well known"
    samples = right.audio.read()
    assert len(samples) == 16_000
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) == 400  # the second channel's tone


def test_switchboard_in_mississippi_state_transcripts(tmp_path: Path) -> None:
    (tmp_path / "swb1_d1").mkdir()
    soundfile.write(tmp_path / "swb1_d1/sw02001.sph", tone(4.0, 8000, 2), 8000, format="NIST", subtype="ULAW")
    folder = tmp_path / "swb_ms98_transcriptions" / "20" / "2001"
    folder.mkdir(parents=True)
    (folder / "sw2001B-ms98-a-trans.text").write_text(
        "sw2001B-ms98-a-0001 0.000000 0.977625 [silence]\n"
        "sw2001B-ms98-a-0002 1.000000 2.500000 hi [laughter-um-hum] i[t]- it's [bout/about_1] {alrighty} <b_aside>\n"
    )
    (clip,) = read_corpus(tmp_path, "switchboard")
    assert (clip.id, clip.speaker) == ("sw2001B-ms98-a-0002", "sw2001B")
    assert clip.text == "hi um hum i it's about alrighty"
    assert len(clip.audio.read()) == 24_000


def test_conversation_keeps_only_spoken_words() -> None:
    assert normalise_conversation(["[noise]", "uh-huh", "<b>", "okay.", "{laugh}"]) == "uh huh okay"


@pytest.mark.parametrize(("layout", "named"), [("video", "layout 'video'"), ("manifest", "not found: .*missing")])
def test_wrong_corpora_are_named(tmp_path: Path, layout: str, named: str) -> None:
    with pytest.raises(CorpusError, match=named):
        read_corpus(tmp_path / "missing", layout)


ROW = {"id": "a", "audio": "a.wav", "text": "one", "duration": 0.5}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"\xff", "not UTF-8"),
        (b'{"id": "a"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"3", "must be a table, not 3"),
        (b"{}", "missing: id, text, duration$"),
        (b'{"id": "a", "text": "one", "duration": 1}', "missing: audio, or an archive that holds it"),
        (json.dumps(ROW | {"id": None}).encode(), "id must be text, not null"),
        (json.dumps(ROW | {"audio": None}).encode(), "audio must be text, not null"),
        (json.dumps(ROW | {"text": 3}).encode(), "text must be text, not 3"),
        (json.dumps(ROW | {"duration": "long"}).encode(), 'duration must be a number, not "long"'),
        (json.dumps(ROW | {"duration": float("nan")}).encode(), "duration must be a number, not NaN"),
        (json.dumps(ROW | {"duration": True}).encode(), "duration must be a number, not true"),
        (json.dumps(ROW | {"labels": [1] * 99}).encode(), r"labels must be text, not .*\.\.\."),
        (json.dumps(ROW | {"archive": "gone.tar"}).encode(), "archive .*gone.tar cannot be read: No such file"),
        (json.dumps(ROW | {"archive": "m.jsonl"}).encode(), "archive .*m.jsonl cannot be read"),
        (json.dumps(ROW | {"archive": "empty.tar"}).encode(), "archive empty.tar holds no clip 'a'"),
    ],
)
def test_a_bad_line_of_a_manifest_is_named(tmp_path: Path, line: bytes, complaint: str) -> None:
    tarfile.open(tmp_path / "empty.tar", "w").close()
    (tmp_path / "m.jsonl").write_bytes(json.dumps(ROW).encode() + b"\r\n\n  \n" + line + b"\n")
    with pytest.raises(CorpusError, match=rf"m\.jsonl: line 4: {complaint}"):
        list(read_manifests(tmp_path))


def test_manifests_may_have_numbers_as_names_and_any_character_in_a_text(tmp_path: Path) -> None:
    row = ROW | {"id": 7, "speaker": None, "text": "one\u2028two"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row, ensure_ascii=False))
    (clip,) = read_manifests(tmp_path / "m.jsonl")
    assert (clip.id, clip.speaker, clip.text) == ("7", "7", "one\u2028two")


@pytest.mark.parametrize("name", ["", "none.jsonl"])
def test_missing_manifests_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError, match=rf"{name}: (no manifest|cannot be read)"):
        list(read_manifests(tmp_path / name))


def test_audio_that_cannot_be_read_names_utterance_and_path(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    rows = [ROW | {"id": name, "audio": f"{name}.wav"} for name in ("gone", "text")]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    gone, text = read_corpus(tmp_path, "manifest")
    with pytest.raises(CorpusError, match=r"gone\.wav: utterance gone: no such file"):
        gone.audio.read()
    with pytest.raises(CorpusError, match=r"text\.wav: utterance text: not audio"):
        text.audio.read()
    soundfile.write(tmp_path / "mono.wav", tone(0.1, 8000), 8000)
    with pytest.raises(CorpusError, match=r"mono\.wav: not audio"):
        AudioSpan(tmp_path / "mono.wav", channel=1).read()
    with pytest.raises(CorpusError, match=r"gone\.tar: cannot be read: No such file"):
        AudioSpan(tmp_path / "gone.tar", 512, 10).read()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("sw02002 A sw02001-A 0.50 1.50 hi", "no recording or channel 'sw02002'"),
        ("sw02001 C sw02001-A 0.50 1.50 hi", "no recording or channel 'c'"),
        ("sw02001 A", "not of this layout|not as this layout"),
        ("sw02001 A sw02001-A zero 1.50 hi", "not of this layout|not as this layout"),
    ],
)
def test_a_bad_line_of_switchboard_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "sw02001.sph").touch()
    (tmp_path / "swb.stm").write_text(f";; a comment\n{line}\n")
    with pytest.raises(CorpusError, match=rf"swb\.stm: line 2: .*({complaint})"):
        read_corpus(tmp_path, "switchboard")


def test_librispeech_names_the_clip_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n")
    with pytest.raises(CorpusError, match="utterance 19-198-0000: no such file"):
        read_corpus(tmp_path, "librispeech")
