"""Sounds that are made for the decoder to be silent on."""

import numpy as np
import pytest

from onebit_model.config import SAMPLE_RATE
from onebit_model.data.no_speech import LEVELS_DECIBEL, at_level, coloured_noise, keypad, no_speech_clips


def test_clips_are_silent_in_words_and_the_same_under_a_seed() -> None:
    recording = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    clips = no_speech_clips(16, 3, [recording])
    again = no_speech_clips(16, 3, [recording])
    for clip, same in zip(clips, again, strict=True):
        samples = clip.audio.read()
        assert clip.text == ""
        assert len(samples) == round(clip.duration_seconds * SAMPLE_RATE)
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() <= 1
        assert np.array_equal(samples, same.audio.read())
    levels = [10 * np.log10(np.square(c.audio.read()).mean() + 1e-20) for c in clips]
    assert max(levels) <= LEVELS_DECIBEL[1] + 0.1
    assert len({round(level) for level in levels}) > 8


def test_levels_are_relative_to_full_scale() -> None:
    tone = np.sin(np.arange(SAMPLE_RATE)).astype(np.float32)
    assert 10 * np.log10(np.square(at_level(tone, -20)).mean()) == pytest.approx(-20, abs=0.01)
    assert not at_level(np.zeros(10, np.float32), -20).any()


def test_keys_are_two_tones_and_noise_has_colour() -> None:
    spectrum = np.abs(np.fft.rfft(keypad(SAMPLE_RATE, np.random.default_rng(1))))
    peak = int(np.argmax(spectrum))
    assert 690 < peak < 1650
    falling = []
    for seed in range(12):
        power = np.square(np.abs(np.fft.rfft(coloured_noise(4 * SAMPLE_RATE, np.random.default_rng(seed)))))
        falling.append(10 * np.log10(power[800:1600].mean() / power[8000:16000].mean()))
    assert min(falling) < 2  # white
    assert max(falling) > 15  # brown
