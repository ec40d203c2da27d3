"""The measurements of robustness count what they say."""

from __future__ import annotations

import numpy as np

from onebit_model.bench.robustness import music


def test_music_is_loud_and_bounded() -> None:
    sound = music(2)
    assert len(sound) == 32_000
    assert 0.01 < np.sqrt(np.square(sound).mean()) < np.abs(sound).max() <= 0.2
