from __future__ import annotations

import numpy as np
import pytest

from onebit_model.recognition.segmentation import AudioSegment, Segmenter, onset_seconds, quietest_point

RATE = 16_000


def speech_with_pauses(seconds: int, pause_seconds: float = 0.4) -> np.ndarray:
    """Noise with near silence every 4.1 s."""
    noise = np.random.default_rng(5).normal(0, 0.1, seconds * RATE).astype(np.float32)
    for start in range(4 * RATE, len(noise), int(4.1 * RATE)):
        noise[start : start + int(pause_seconds * RATE)] *= 0.001
    return noise


def segments_of(audio: np.ndarray, block_samples: int, is_written: bool = False) -> list[AudioSegment]:
    segmenter = Segmenter(is_written)
    blocks = range(0, len(audio), block_samples)
    found = [segment for start in blocks for segment in segmenter.push(audio[start : start + block_samples])]
    return [*found, *segmenter.finish()]


@pytest.mark.parametrize(
    ("is_written", "pause_seconds", "shortest", "longest"),
    [(False, 0.4, 5, 10), (False, 0.25, 25, 30), (True, 0.4, 15, 20), (True, 1.1, 4, 10), (True, 0.25, 25, 30)],
)
@pytest.mark.parametrize("block_samples", [640, 100_003, 10_000_000])
def test_segments_cover_the_audio_whatever_the_blocks(
    block_samples: int, is_written: bool, pause_seconds: float, shortest: float, longest: float
) -> None:
    audio = speech_with_pauses(130, pause_seconds)
    segments = segments_of(audio, block_samples, is_written)
    np.testing.assert_array_equal(np.concatenate([segment.samples for segment in segments]), audio)
    assert [s.start_samples for s in segments] == [s.start_samples for s in segments_of(audio, 16_000, is_written)]
    for segment in segments[:-1]:
        assert shortest <= segment.seconds <= longest
        around = audio[segment.start_samples + len(segment.samples) + np.arange(-500, 500)]
        assert np.abs(around).max() < 0.001


def test_without_pauses_segments_are_30_seconds_at_most() -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, 100 * RATE).astype(np.float32)
    assert all(25 <= segment.seconds <= 30 for segment in segments_of(noise, 640)[:-1])


def test_short_audio_is_one_segment() -> None:
    assert [s.seconds for s in segments_of(speech_with_pauses(5), 640)] == [5]
    assert [s.seconds for s in segments_of(np.ones(30 * RATE, np.float32), 640)] == [30]
    assert segments_of(np.zeros(0, np.float32), 640) == []


def test_silence_is_cut_too() -> None:
    segments = segments_of(np.zeros(100 * RATE, np.float32), 640)
    assert sum(segment.seconds for segment in segments) == pytest.approx(100)
    assert max(segment.seconds for segment in segments) <= 30


def test_quietest_point() -> None:
    audio = np.ones(RATE, np.float32)
    audio[4000:7200] = 0
    assert abs(quietest_point(audio) - 5600) <= 160
    assert quietest_point(np.ones(100, np.float32)) == 50


def test_silence() -> None:
    assert AudioSegment(np.zeros(100, np.float32), 0).is_silent
    assert AudioSegment(np.full(100, 5e-5, np.float32), 0).is_silent
    assert not AudioSegment(np.full(100, 0.01, np.float32), 0).is_silent


def test_onset_of_a_sound_behind_silence() -> None:
    random = np.random.default_rng(0)
    sound = 1e-4 * random.standard_normal(16_000).astype(np.float32)
    sound[8_000:] += 0.1 * np.sin(np.arange(8_000)).astype(np.float32)
    sound[3_200:3_300] += 0.2  # a click
    assert onset_seconds(sound) == pytest.approx(0.5, abs=0.01)
