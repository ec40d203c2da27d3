"""The comparison of recognizers: each in its process, clip by clip in turns."""

from functools import partial
from pathlib import Path

import pytest

from onebit_model.bench.recognizers import Clips, Heard, Rival, in_turns, onebit, times_less, whisper_folder
from onebit_model.data.reference import read_set
from onebit_model.errors import UnknownSetError


def test_what_recognizers_made_of_clips_and_what_that_took() -> None:
    clips = read_set("ljspeech")[:2]
    rivals = {name: Rival(partial(onebit, bits)) for name, bits in (("two", 2), ("four", 4))}
    heard = in_turns(rivals, clips)
    for said in heard.values():
        assert len(said) == len(clips)
        assert all(one.text and one.processor_seconds > 0 and one.peak_bytes > 50e6 for one in said)
    for rival in rivals.values():
        rival.leave()


def test_ratios_are_taken_clip_by_clip() -> None:
    peer = [Heard("", seconds, 0) for seconds in (1.0, 4.0, 9.0)]
    ours = [Heard("", seconds, 0) for seconds in (0.5, 1.0, 1.0)]
    assert times_less(peer, ours) == 4.0


def test_clips_of_a_length() -> None:
    assert all(8 <= clip.duration_seconds <= 9 for clip in Clips(1, 8, 9).read())
    with pytest.raises(UnknownSetError, match="no clip lasts 29 to 30 seconds"):
        Clips(1, 29, 30).read()


def test_whisper_base_is_put_together_from_its_packages(tmp_path: Path) -> None:
    with whisper_folder("base") as folder:
        assert {file.name for file in folder.iterdir()} >= {"model.bin", "config.json", "tokenizer.json"}
        assert (folder / "model.bin").stat().st_size > 100e6
    with whisper_folder(str(tmp_path)) as folder:
        assert folder == tmp_path
