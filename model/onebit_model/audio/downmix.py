"""Several channels to one, so that no voice is lost in it.

Channels are averaged. One that is the loudest channel's opposite (a cable soldered the wrong way, a "wide" effect)
would cancel what that one holds: it is left out while it is so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

WINDOWS_PER_SECOND = 10
# What was heard a third of a second ago counts a third.
MEMORY = 0.7
# Left out below the first correlation with the loudest channel, taken back above the second. Different sounds on
# different channels are near 0: they are all wanted.
OPPOSITE, NOT_OPPOSITE = -0.5, -0.2
# A single window that is so clear needs no memory.
CLEAR = 0.8
# Another channel has to be this much stronger to be the loudest one: each change is a small break in the sound.
LOUDER = 2.0
FADES_PER_SECOND = 100


class Downmix:
    """The mean of the channels that do not cancel each other, decided every 100 ms of audio, in whatever blocks."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._window_frames = max(1, sample_rate // WINDOWS_PER_SECOND)
        fade_frames = max(1, sample_rate // FADES_PER_SECOND)
        self._fade = (np.arange(fade_frames, dtype=np.float32) / np.float32(fade_frames))[:, None]
        self._waiting = np.zeros((0, channels), np.float32)
        self._covariance = np.zeros((channels, channels))
        self._loudest = 0
        self._is_opposite = np.zeros(channels, bool)
        self._weights: npt.NDArray[np.float32] | None = None
        self.has_left_out = False

    def push(self, block: Samples) -> Samples:
        """(frames, channels) to (frames, 1) of the windows that are complete."""
        waiting = np.concatenate([self._waiting, block])
        whole = len(waiting) - len(waiting) % self._window_frames
        self._waiting = waiting[whole:]
        windows = range(0, whole, self._window_frames)
        mixed = [self._mix(waiting[start : start + self._window_frames]) for start in windows]
        return np.concatenate(mixed) if mixed else np.zeros((0, 1), np.float32)

    def finish(self) -> Samples:
        rest, self._waiting = self._waiting, self._waiting[:0]
        return self._mix(rest) if len(rest) else np.zeros((0, 1), np.float32)

    def _mix(self, window: Samples) -> Samples:
        self._listen(window)
        weights = (~self._is_opposite / np.count_nonzero(~self._is_opposite)).astype(np.float32)
        before = weights if self._weights is None else self._weights
        self._weights = weights
        mixed: Samples = (window * weights).sum(axis=1, keepdims=True, dtype=np.float32)
        if (before != weights).any():
            fade = self._fade[: len(window)]
            old = (window[: len(fade)] * before).sum(axis=1, keepdims=True, dtype=np.float32)
            mixed[: len(fade)] = mixed[: len(fade)] * fade + old * (1 - fade)
        return mixed

    def _listen(self, window: Samples) -> None:
        covariance = window.T.astype(np.float64) @ window
        self._covariance = MEMORY * self._covariance + covariance
        energies = np.diag(self._covariance)
        loudest = int(np.argmax(energies))
        if energies[loudest] > LOUDER * energies[self._loudest]:
            self._loudest = loudest
        now = _correlations(covariance, self._loudest)
        lately = _correlations(self._covariance, self._loudest)
        is_opposite = lately < np.where(self._is_opposite, NOT_OPPOSITE, OPPOSITE)
        self._is_opposite = (is_opposite | (now < -CLEAR)) & (now < CLEAR)
        self.has_left_out = self.has_left_out or bool(self._is_opposite.any())


def _correlations(covariance: npt.NDArray[np.float64], reference: int) -> npt.NDArray[np.float64]:
    """(channels,): of each with the reference; 0 where nothing is heard."""
    energies = np.diag(covariance)
    scale = np.sqrt(energies * energies[reference])
    correlations: npt.NDArray[np.float64] = np.divide(
        covariance[reference], scale, out=np.zeros_like(scale), where=scale > 0
    )
    return correlations
