"""Quiet speech made louder: the same for any packets, nothing for usual levels, nothing for noise alone."""

from __future__ import annotations

import numpy as np
import pytest
from audio_bytes import RATE, Samples

from onebit_model.audio.level import MOST_GAIN_DB, TARGET_DB, Leveler


def speech_like(seconds: float, level: float, seed: int = 7) -> Samples:
    """Syllables of noise, four a second, with pauses a thousand times weaker between them."""
    time = np.arange(round(seconds * RATE)) / RATE
    is_voiced = np.sin(2 * np.pi * 4 * time - 1) > 0
    noise = np.random.default_rng(seed).normal(0, 1, len(time))
    return (level * noise * np.where(is_voiced, 1, 1e-3)).astype(np.float32)


def levelled(samples: Samples, packet_samples: int = 1 << 30) -> Samples:
    leveler = Leveler()
    packets = [samples[at : at + packet_samples] for at in range(0, len(samples), packet_samples)]
    return np.concatenate([*map(leveler.push, packets), leveler.flush()])


def decibels(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("level_db", [-40, -45, -60])
def test_quiet_speech_is_brought_up(level_db: float) -> None:
    quiet = speech_like(4, 0.1 * 10 ** (level_db / 20))
    output = levelled(quiet)
    assert len(output) == len(quiet)
    voiced = output[2 * RATE :][np.abs(output[2 * RATE :]) > np.abs(output[2 * RATE :]).max() / 100]
    assert decibels(voiced) == pytest.approx(min(TARGET_DB, level_db - 20 + MOST_GAIN_DB), abs=4)


def test_usual_levels_stay_as_they_are() -> None:
    loud = speech_like(4, 0.1)
    np.testing.assert_array_equal(levelled(loud)[RATE:], loud[RATE:])


@pytest.mark.parametrize("level", [1e-4, 1e-3, 1e-2])
def test_noise_alone_is_not_made_louder(level: float) -> None:
    noise = np.random.default_rng(8).normal(0, level, 5 * RATE).astype(np.float32)
    np.testing.assert_array_equal(levelled(noise), noise)


def test_packets_change_nothing() -> None:
    signal = np.concatenate([speech_like(2, 1e-3), speech_like(2, 0.1), speech_like(3, 1e-4)])
    whole = levelled(signal)
    for packet_samples in (1, 7, 320, 999, 16_000):
        np.testing.assert_array_equal(levelled(signal, packet_samples), whole)


def test_later_samples_change_nothing_before_them() -> None:
    quiet, loud = speech_like(2, 1e-3), speech_like(2, 0.5)
    np.testing.assert_array_equal(levelled(np.concatenate([quiet, loud]))[: len(quiet)], levelled(quiet))


def test_a_loud_noise_is_forgotten() -> None:
    quiet = speech_like(60, 1e-3)
    quiet[:RATE] += speech_like(1, 0.3)
    output = levelled(quiet)
    assert decibels(output[2 * RATE : 4 * RATE]) == pytest.approx(decibels(quiet[2 * RATE : 4 * RATE]), abs=0.1)
    assert decibels(output[-2 * RATE :]) > decibels(quiet[-2 * RATE :]) + 15


def test_finalize_does_not_wait_for_a_window() -> None:
    leveler = Leveler()
    assert len(leveler.push(np.ones(100, np.float32))) == 0
    assert len(leveler.flush()) == 100
    assert len(leveler.flush()) == 0
