"""Intervals and tests for word error rates.

Bootstrap: Bisani and Ney 2004, with speakers as blocks where there are enough of them.
MAPSSWE: the matched-pairs sentence-segment word error test of Gillick and Cox 1989, as NIST uses it.
Holm: the step-down correction of Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onebit_model.evaluation.scoring import Alignment

MINIMUM_SPEAKERS = 20
RESAMPLES = 10_000
COVERAGE = 0.95
BUFFER_WORDS = 2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Blocks:
    """Units that are resampled together: sums per block, (blocks, systems) errors and (blocks,) words."""

    unit: str
    errors: Floats
    words: Floats


def block_sums(speakers: Sequence[Hashable], errors: npt.ArrayLike, words: npt.ArrayLike) -> Blocks:
    """Sums (utterances, systems) errors and (utterances,) words per speaker, or per utterance if speakers are few."""
    error_rows = np.asarray(errors, np.float64).reshape(len(speakers), -1)
    word_rows = np.asarray(words, np.float64)
    names = sorted(set(speakers), key=str)
    if len(names) < MINIMUM_SPEAKERS:
        return Blocks("utterance", error_rows, word_rows)
    index = np.array([names.index(speaker) for speaker in speakers])
    summed = np.zeros((len(names), error_rows.shape[1]))
    np.add.at(summed, index, error_rows)
    return Blocks("speaker", summed, np.bincount(index, word_rows, len(names)).astype(np.float64))


def resampled_sums(blocks: Blocks, generator: np.random.Generator, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Errors (resamples, systems) and words (resamples,) of sets drawn with replacement from the blocks."""
    count = len(blocks.words)
    draws = generator.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    return draws @ blocks.errors, draws @ blocks.words


def rates(errors: Floats, words: Floats) -> Floats:
    """(resamples, systems) error rates; a draw without words has rate 0 rather than none."""
    result: Floats = errors / np.maximum(words, 1)[:, None]
    return result


def percentile_interval(values: Floats, coverage: float = COVERAGE) -> Interval:
    """Order statistics, not interpolated: values may be infinite."""
    ordered = np.sort(values)
    below = (1 - coverage) / 2 * (len(ordered) - 1)
    return Interval(float(ordered[math.floor(below)]), float(ordered[math.ceil(len(ordered) - 1 - below)]))


def relative_differences(baseline: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """(other - baseline) / baseline, any shape; equal rates of zero differ by nothing, else without bound."""
    baseline, other = np.asarray(baseline, np.float64), np.asarray(other, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(other == baseline, 0.0, (other - baseline) / baseline)


# MAPSSWE


@dataclass(frozen=True)
class PairedTest:
    segments: int
    mean_difference: float
    z: float
    p: float


def error_segments(first: Alignment, second: Alignment) -> list[tuple[int, int]]:
    """Errors of two systems per segment of one utterance.

    Segments hold all errors and are kept apart by at least `BUFFER_WORDS` words that both systems recognised,
    with nothing inserted between; stretches without errors are no segments.
    """
    segments: list[tuple[int, int]] = []
    current = (0, 0)
    good_words = BUFFER_WORDS
    for position in range(len(first.correct) + 1):
        errors = (first.inserted[position], second.inserted[position])
        if any(errors):
            current, good_words = (current[0] + errors[0], current[1] + errors[1]), 0
        if position == len(first.correct):
            break
        wrong = (not first.correct[position], not second.correct[position])
        if any(wrong):
            current, good_words = (current[0] + wrong[0], current[1] + wrong[1]), 0
            continue
        good_words += 1
        if good_words == BUFFER_WORDS and any(current):
            segments.append(current)
            current = (0, 0)
    return [*segments, current] if any(current) else segments


def mapsswe(segments: Sequence[tuple[int, int]]) -> PairedTest:
    """Two-sided test that the mean difference of errors per segment (first - second) is zero."""
    differences = np.array([a - b for a, b in segments], np.float64)
    count = len(differences)
    if count == 0 or not differences.any():
        return PairedTest(count, 0.0, 0.0, 1.0)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if count > 1 else math.inf
    if deviation == 0:  # all differ alike, for which the normal distribution has no figure: the sign test has
        return PairedTest(count, mean, math.copysign(math.inf, mean), 2 * 0.5**count)
    z = mean / (deviation / math.sqrt(count))
    return PairedTest(count, mean, z, math.erfc(abs(z) / math.sqrt(2)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: reject where the adjusted value is below alpha."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
