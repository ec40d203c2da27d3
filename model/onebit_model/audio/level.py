"""Quiet speech made louder before the features: their constant floor (features.MEL_FLOOR) swallows what lies below it.

The gain depends on the samples heard so far alone, in windows that are counted from the first one: a stream and a file
are levelled alike, however they are cut into packets.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from onebit_model.config import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

WINDOW_SAMPLES = SAMPLE_RATE // 50
# The loudest so many windows are the level of a voice: 200 ms.
LEVEL_WINDOWS = 10
# Mean square in dB of full scale. Speech is brought up to here, what is louder stays as it is: usual recordings have
# -28 to -11, and with a higher target the changing gain cost them words while the level was not known yet.
TARGET_DB = -35.0
MOST_GAIN_DB = 40.0
# How far the loudest has to stand above the faintest window to be a voice at all: noise alone is not made louder. The
# gain comes in between the two.
NO_VOICE_DB, VOICE_DB = 15.0, 20.0
# A cough or another speaker is forgotten that fast, loudest and faintest alike.
RELEASE_DB_PER_SECOND = 1.0
SILENCE_DB = -200.0
RAMP = np.arange(WINDOW_SAMPLES, dtype=np.float32) / np.float32(WINDOW_SAMPLES)


class Leveler:
    """One track of sound at 16 kHz; the samples of an unfinished window (20 ms) come out with the next ones."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.float32)
        self._recent: deque[float] = deque(maxlen=LEVEL_WINDOWS)
        self._loudest_db = SILENCE_DB
        self._faintest_db = 0.0
        self._gain = 1.0

    def push(self, samples: Samples) -> Samples:
        """(samples,) to (samples of whole windows,) float32."""
        waiting = np.concatenate([self._waiting, samples]) if len(self._waiting) else samples
        whole = len(waiting) - len(waiting) % WINDOW_SAMPLES
        # Sums in float64 of float64: the same numbers for one window as for many.
        windows = waiting[:whole].reshape(-1, WINDOW_SAMPLES).astype(np.float64)
        self._waiting = waiting[whole:].copy()
        gains = [self._gain, *map(self._next_gain, np.square(windows).sum(axis=1).tolist())]
        if max(gains) == 1.0:
            return waiting[:whole]
        steps = np.array(gains, np.float32)
        ramps = steps[:-1, None] + (steps[1:] - steps[:-1])[:, None] * RAMP
        levelled: Samples = waiting[:whole] * ramps.reshape(-1)
        return levelled

    def flush(self) -> Samples:
        """What waits, without waiting for the rest of its window; the next window starts behind it."""
        waiting, self._waiting = self._waiting, self._waiting[:0]
        return waiting * np.float32(self._gain)

    def _next_gain(self, energy: float) -> float:
        self._recent.append(energy)
        release_db = RELEASE_DB_PER_SECOND * WINDOW_SAMPLES / SAMPLE_RATE
        level_db = _decibels(sum(self._recent) / (LEVEL_WINDOWS * WINDOW_SAMPLES))
        self._loudest_db = max(level_db, self._loudest_db - release_db)
        self._faintest_db = min(_decibels(energy / WINDOW_SAMPLES), self._faintest_db + release_db)
        missing_db = min(max(TARGET_DB - self._loudest_db, 0.0), MOST_GAIN_DB)
        contrast_db = self._loudest_db - self._faintest_db
        share = min(max((contrast_db - NO_VOICE_DB) / (VOICE_DB - NO_VOICE_DB), 0.0), 1.0)
        self._gain = 10 ** (missing_db * share / 20)
        return self._gain


def _decibels(power: float) -> float:
    return max(10 * math.log10(power), SILENCE_DB) if power > 0 else SILENCE_DB
