"""The comparison of recognizers, with the one that is always there."""

from functools import partial

from onebit_model.bench.recognizers import hear, onebit
from onebit_model.data.reference import read_set


def test_what_a_recognizer_made_of_clips_and_what_that_took() -> None:
    clips = read_set("ljspeech")[:2]
    heard = hear(partial(onebit, 4), clips)
    assert len(heard.texts) == len(clips)
    assert all(heard.texts)
    assert abs(heard.audio_seconds - sum(clip.duration_seconds for clip in clips)) < 0.1
    assert heard.processor_seconds_per_second > 0
    assert heard.peak_bytes > 50e6
