"""The measurements of robustness count what they say."""

from __future__ import annotations

import numpy as np
import pytest

from onebit_model.bench.robustness import are_right, calibration_error, music
from onebit_model.evaluation.scoring import align


def test_words_of_the_hypothesis_are_right_or_wrong_in_their_order() -> None:
    alignment = align(["the", "cat", "sat", "on", "the", "mat"], ["a", "cat", "sat", "sat", "the", "big", "mat"])
    assert list(are_right(alignment)) == [False, True, True, False, True, False, True]


def test_calibration_error() -> None:
    assert calibration_error([0.95] * 4, [True] * 4) == pytest.approx(0.05)
    assert calibration_error([0.95, 0.15], [False, True]) == pytest.approx(0.9)
    assert calibration_error([0.55] * 20, [True] * 11 + [False] * 9) == pytest.approx(0)


def test_music_is_loud_and_bounded() -> None:
    sound = music(2)
    assert len(sound) == 32_000
    assert 0.01 < np.sqrt(np.square(sound).mean()) < np.abs(sound).max() <= 0.2
