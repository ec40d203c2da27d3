"""Cuts audio of any length into segments that the network takes whole.

For the CTC head a segment ends in the first pause after 5 s: it hears sentences in training, and longer segments cost
errors. The attention decoder writes what follows from what it wrote, so its segments go on to the first pause after
15 s, or the first long one after 5 s. Where nobody pauses a segment ends after 30 s at the latest, in the quietest
200 ms of the last 5 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onebit_model.audio.level import Leveler
from onebit_model.config import MAXIMUM_SEGMENT_SAMPLES, SAMPLE_RATE

Samples = npt.NDArray[np.float32]

CUT_REGION_SAMPLES = 5 * SAMPLE_RATE
QUIET_WINDOW_SAMPLES = SAMPLE_RATE // 5
STEP_SAMPLES = SAMPLE_RATE // 100
COMFORTABLE_SAMPLES = 5 * SAMPLE_RATE
WRITTEN_SAMPLES = 15 * SAMPLE_RATE
# A pause: this many steps of 10 ms that are this much weaker than the loudest 200 ms of the segment.
PAUSE_STEPS, LONG_PAUSE_STEPS = 30, 100
PAUSE_RATIO = 1e-3
# Speech begins with the first 30 ms that are no more than 30 dB weaker than the loudest 10 ms.
ONSET_STEPS = 3
ONSET_RATIO = 1e-3
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


def loudest(samples: Samples, length_samples: int) -> Samples:
    """The stretch of this length with the most energy; all samples where there are fewer."""
    if len(samples) <= length_samples:
        return samples
    sums = np.concatenate([[0.0], np.cumsum(step_energies(samples), dtype=np.float64)])
    steps = length_samples // STEP_SAMPLES
    start = int(np.argmax(sums[steps:] - sums[:-steps])) * STEP_SAMPLES
    return samples[start : start + length_samples]


def step_energies(samples: Samples) -> npt.NDArray[np.float32]:
    """(steps,): the energy of each whole 10 ms."""
    steps = len(samples) // STEP_SAMPLES
    return np.square(samples[: steps * STEP_SAMPLES].reshape(steps, STEP_SAMPLES)).sum(axis=1, dtype=np.float32)


def first_pause(energies: npt.NDArray[np.float32], start: int, steps: int) -> int | None:
    """The middle of the first pause of `steps` that ends at step `start` or later."""
    window = QUIET_WINDOW_SAMPLES // STEP_SAMPLES
    sums = np.concatenate([[0.0], np.cumsum(energies, dtype=np.float64)])
    loudest = float(np.max(sums[window:] - sums[:-window])) / window
    is_loud = energies > loudest * PAUSE_RATIO
    loud_before = np.concatenate([[0], np.cumsum(is_loud)])
    first_end = max(start, steps)
    is_pause = loud_before[first_end:] == loud_before[first_end - steps : -steps]
    ends = np.flatnonzero(is_pause)
    return int(ends[0]) + first_end - steps // 2 if len(ends) else None


def onset_seconds(samples: Samples) -> float:
    """(samples,) at 16 kHz: where somebody begins to speak; the yardstick for a first word and a first partial."""
    energies = step_energies(samples)
    is_loud = energies > energies.max() * ONSET_RATIO
    runs = np.lib.stride_tricks.sliding_window_view(is_loud, ONSET_STEPS).all(axis=1)
    return float(np.argmax(runs)) * STEP_SAMPLES / SAMPLE_RATE


class Segmenter:
    """One track of audio in, segments out, levelled, as soon as each is known. Where it cuts depends on the audio
    alone: it looks for a pause after every whole second of the segment, however the audio was cut into blocks.

    `is_written`: by the attention decoder.
    """

    def __init__(self, is_written: bool, track: int = 0) -> None:
        self._track = track
        self._any_pause_from = WRITTEN_SAMPLES if is_written else COMFORTABLE_SAMPLES
        self._samples = np.zeros(MAXIMUM_SEGMENT_SAMPLES, np.float32)
        self._energies = np.zeros(MAXIMUM_SEGMENT_SAMPLES // STEP_SAMPLES, np.float32)
        self._filled = 0
        self._start_samples = 0
        self._leveler = Leveler()

    def push(self, block: Samples) -> Iterator[AudioSegment]:
        yield from self._push(self._leveler.push(block))

    def finish(self) -> Iterator[AudioSegment]:
        yield from self._push(self._leveler.flush())
        if self._filled:
            yield AudioSegment(self._samples[: self._filled].copy(), self._start_samples, self._track)

    def _push(self, block: Samples) -> Iterator[AudioSegment]:
        while len(block):
            if self._filled == MAXIMUM_SEGMENT_SAMPLES:
                region = MAXIMUM_SEGMENT_SAMPLES - CUT_REGION_SAMPLES
                yield from self._cut(region + quietest_point(self._samples[region:]))
            block = self._fill(block)
            if self._filled % SAMPLE_RATE == 0:
                yield from self._look_for_pause()

    def _fill(self, block: Samples) -> Samples:
        """Takes from the block up to the next whole second; the rest of it."""
        taken = block[: SAMPLE_RATE - self._filled % SAMPLE_RATE]
        self._samples[self._filled : self._filled + len(taken)] = taken
        self._filled += len(taken)
        return block[len(taken) :]

    def _look_for_pause(self) -> Iterator[AudioSegment]:
        end = self._filled // STEP_SAMPLES
        second = SAMPLE_RATE // STEP_SAMPLES
        self._energies[end - second : end] = step_energies(self._samples[self._filled - SAMPLE_RATE : self._filled])
        if self._filled <= COMFORTABLE_SAMPLES:
            return
        steps = PAUSE_STEPS if self._filled > self._any_pause_from else LONG_PAUSE_STEPS
        pause = first_pause(self._energies[:end], end - second, steps)
        if pause is not None:
            yield from self._cut(pause * STEP_SAMPLES)

    def _cut(self, end: int) -> Iterator[AudioSegment]:
        yield AudioSegment(self._samples[:end].copy(), self._start_samples, self._track)
        rest = self._samples[end : self._filled].copy()
        self._filled = 0
        self._start_samples += end
        yield from self._push(rest)
