"""Cuts audio of any length into segments that the network takes whole: at most 30 s, cut where it is quietest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onebit_model.config import MAXIMUM_SEGMENT_SECONDS, SAMPLE_RATE

Samples = npt.NDArray[np.float32]

MAXIMUM_SEGMENT_SAMPLES = MAXIMUM_SEGMENT_SECONDS * SAMPLE_RATE
CUT_REGION_SAMPLES = 5 * SAMPLE_RATE
QUIET_WINDOW_SAMPLES = SAMPLE_RATE // 5
STEP_SAMPLES = SAMPLE_RATE // 100
# -80 dB of full scale: below what any microphone gives for a voice, above dither.
SILENCE_PEAK = 1e-4


@dataclass(frozen=True)
class AudioSegment:
    """A piece of one track and where it begins in the audio."""

    samples: Samples
    start_samples: int
    track: int = 0

    @property
    def start_seconds(self) -> float:
        return self.start_samples / SAMPLE_RATE

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def is_silent(self) -> bool:
        return not len(self.samples) or bool(np.abs(self.samples).max() < SILENCE_PEAK)


def quietest_point(samples: Samples) -> int:
    """The middle of the 200 ms with the least energy; the middle of everything where there is less than that."""
    steps = len(samples) // STEP_SAMPLES
    window = QUIET_WINDOW_SAMPLES // STEP_SAMPLES
    if steps < window:
        return len(samples) // 2
    energies = np.square(samples[: steps * STEP_SAMPLES].reshape(steps, STEP_SAMPLES), dtype=np.float64).sum(axis=1)
    sums = np.concatenate([[0.0], np.cumsum(energies)])
    quietest = int(np.argmin(sums[window:] - sums[:-window]))
    return quietest * STEP_SAMPLES + QUIET_WINDOW_SAMPLES // 2


class Segmenter:
    """One track of audio in, segments out, as soon as each is known."""

    def __init__(self, track: int = 0) -> None:
        self._track = track
        self._blocks: list[Samples] = []
        self._waiting_samples = 0
        self._start_samples = 0

    def push(self, block: Samples) -> Iterator[AudioSegment]:
        self._blocks.append(block)
        self._waiting_samples += len(block)
        while self._waiting_samples > MAXIMUM_SEGMENT_SAMPLES:
            region = MAXIMUM_SEGMENT_SAMPLES - CUT_REGION_SAMPLES
            samples = self._joined()
            yield self._cut(samples, region + quietest_point(samples[region:MAXIMUM_SEGMENT_SAMPLES]))

    def finish(self) -> Iterator[AudioSegment]:
        if self._waiting_samples:
            samples = self._joined()
            yield self._cut(samples, len(samples))

    def _joined(self) -> Samples:
        return np.concatenate(self._blocks)

    def _cut(self, samples: Samples, end: int) -> AudioSegment:
        segment = AudioSegment(np.ascontiguousarray(samples[:end]), self._start_samples, self._track)
        self._blocks = [samples[end:].copy()]
        self._waiting_samples = len(samples) - end
        self._start_samples += end
        return segment
