"""How far the confidence of words can be trusted: which of them are right, and the map that makes it so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from onebit_model.evaluation.scoring import Alignment, align
from onebit_model.files.calibration import Points
from onebit_model.text.canonical_forms import canonical
from onebit_model.text.decoding import Word

BINS = 10
# The map is fitted to means of as many words each; fewer say little about a share.
WORDS_OF_A_POINT = 50
MOST_POINTS = 20

Floats = npt.NDArray[np.float64]


def are_right(alignment: Alignment) -> Iterator[bool]:
    """For each word of the hypothesis, in order, whether it was said."""
    for place, inserted in enumerate(alignment.inserted):
        yield from [False] * inserted
        if place < len(alignment.correct) and not alignment.deleted[place]:
            yield alignment.correct[place]


def right_words(reference: str, words: Sequence[Word]) -> list[bool]:
    """Whether each word was said, written text included: all that a word stands for must be right.

    A word that nobody says (a dash) counts as right.
    """
    spoken = [canonical(word.text).split() for word in words]
    said = are_right(align(canonical(reference).split(), [part for parts in spoken for part in parts]))
    outcomes = [[next(said) for _ in parts] for parts in spoken]
    return [all(outcome) for outcome in outcomes]


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error over ten equal bins (Guo et al., 2017, equation 3)."""
    confidence, correct = np.array(confidences), np.array(right, float)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((confidence - correct)[bins == b].sum()) for b in range(BINS)]
    return float(sum(gaps) / len(confidence))


def fitted_map(probabilities: Sequence[float], right: Sequence[bool]) -> Points:
    """The rising map of least squared error (pool adjacent violators), from groups of equally many words.

    Raises ValueError without words.
    """
    if not probabilities:
        raise ValueError("no words to fit a calibration to")
    order = np.argsort(np.array(probabilities, float), kind="stable")
    probability, correct = np.array(probabilities, float)[order], np.array(right, float)[order]
    count = int(np.clip(len(order) // WORDS_OF_A_POINT, 1, MOST_POINTS))
    groups = np.array_split(np.arange(len(order)), count)
    at = [float(probability[group].mean()) for group in groups]
    points: list[tuple[float, float]] = []
    for x, y in zip(at, _rising([correct[g] for g in groups]), strict=True):
        if points and x <= points[-1][0]:
            points.pop()
        points.append((round(x, 6), round(y, 6)))
    return tuple(points)


def _rising(groups: Sequence[Floats]) -> list[float]:
    """The mean of each group, where a lower one follows a higher both are one."""
    pools: list[tuple[float, float, int]] = []  # sum, words, groups
    for group in groups:
        pools.append((float(group.sum()), float(len(group)), 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            (a, n, i), (b, m, j) = pools[-2:]
            pools[-2:] = [(a + b, n + m, i + j)]
    return [total / words for total, words, count in pools for _ in range(count)]
