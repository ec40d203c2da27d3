"""Intervals and tests against second implementations and a published example."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from onebit_model.evaluation.scoring import Alignment, align
from onebit_model.evaluation.significance import (
    block_sums,
    error_segments,
    holm,
    mapsswe,
    percentile_interval,
    rates,
    relative_differences,
    resampled_sums,
)


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def aligned(reference: str, hypothesis: str) -> Alignment:
    return align(reference.lower().split(), hypothesis.lower().split())


def test_textbook_segments() -> None:
    """The example of Jurafsky and Martin, Speech and Language Processing, on matched-pair segments."""
    reference = "it was the best of times it was the worst of times it was"
    first = "ITS the best of times it IS the worst of times OR it was"
    second = "it was the best times it WON the TEST of times it was"
    segments = error_segments(aligned(reference, first), aligned(reference, second))
    assert segments == [(2, 0), (0, 1), (1, 2), (1, 0)]
    differences = [2, -1, -1, 1]
    mean = sum(differences) / 4
    variance = sum((d - mean) ** 2 for d in differences) / 3
    result = mapsswe(segments)
    assert result.z == pytest.approx(mean / math.sqrt(variance / 4))
    assert result.p == pytest.approx(math.erfc(result.z / math.sqrt(2)))


@pytest.mark.parametrize(
    ("reference", "first", "second", "expected"),
    [
        ("a b c d", "a b c d", "a b c d", []),
        ("a b c d", "x b c y", "a b c d", [(1, 0), (1, 0)]),
        ("a b c", "x b y", "a b c", [(2, 0)]),  # one good word does not separate
        ("a b c d", "x b e c y", "a b c d", [(3, 0)]),  # nor do two with an insertion between
        ("a b", "", "a b", [(2, 0)]),
        ("", "a", "b c", [(1, 2)]),
        ("a b c", "a b c x", "y a b c", [(0, 1), (1, 0)]),
    ],
)
def test_segments(reference: str, first: str, second: str, expected: list[tuple[int, int]]) -> None:
    assert error_segments(aligned(reference, first), aligned(reference, second)) == expected


def sign_flip_p(differences: np.ndarray) -> float:
    """Exact two-sided permutation test: under the null every difference may have either sign.

    Ties count half (the mid-p value), since the statistic is discrete and the normal law is not.
    """
    flips = np.array(list(itertools.product([1, -1], repeat=len(differences))))
    sums, observed = np.abs(flips @ differences), abs(differences.sum())
    return float((sums > observed).mean() + 0.5 * (sums == observed).mean())


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.8])
def test_mapsswe_agrees_with_the_permutation_test(shift: float) -> None:
    random = generator()
    for _ in range(5):
        second = random.poisson(1.0, 16)
        first = second + random.integers(-3, 4, 16) + (random.random(16) < shift)
        segments = [(int(a) + 3, int(b) + 3) for a, b in zip(first, second, strict=True)]
        assert mapsswe(segments).p == pytest.approx(sign_flip_p(first - second), abs=0.04)


def test_mapsswe_rejects_at_its_level() -> None:
    """Under the null about 5 % of tests are below 0.05."""
    random = generator()
    below = 0
    for _ in range(1000):
        below += mapsswe([(int(a), int(b)) for a, b in random.poisson(1.2, (80, 2))]).p < 0.05
    assert 30 <= below <= 75


def test_mapsswe_of_equal_systems() -> None:
    assert mapsswe([]).p == 1
    assert mapsswe([(1, 1)] * 9).p == 1
    assert mapsswe([(1, 0)] * 9).p == 2 * 0.5**9
    assert mapsswe([(1, 0)] * 2).p == 0.5
    assert mapsswe([(2, 1)]).p == pytest.approx(1)


def test_holm_worked_example() -> None:
    """p = 0.01, 0.04, 0.03, 0.005: the step-down multiples are 4, 3, 2, 1."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_few_speakers_make_utterances_the_blocks() -> None:
    assert block_sums(["a", "b"], [1, 2], [3, 4]).unit == "utterance"
    speakers = [f"s{i % 20}" for i in range(60)]
    blocks = block_sums(speakers, np.ones((60, 2)), np.full(60, 5))
    assert blocks.unit == "speaker"
    assert blocks.words.tolist() == [15] * 20
    assert blocks.errors.tolist() == [[3, 3]] * 20


def test_bootstrap_is_deterministic_and_near_the_formula() -> None:
    """For utterances of equal length the standard error of the mean is known."""
    random = generator()
    errors = random.poisson(2.0, 400)
    blocks = block_sums(["one"] * 400, errors, np.full(400, 10))
    sampled = rates(*resampled_sums(blocks, np.random.default_rng(0)))
    again = rates(*resampled_sums(blocks, np.random.default_rng(0)))
    assert (sampled == again).all()
    interval = percentile_interval(sampled[:, 0])
    half_width = 1.96 * errors.std() / 10 / math.sqrt(400)
    assert interval.low == pytest.approx(errors.mean() / 10 - half_width, abs=0.002)
    assert interval.high == pytest.approx(errors.mean() / 10 + half_width, abs=0.002)


def test_speaker_blocks_widen_the_interval() -> None:
    """Speakers who differ make utterances dependent; taking them as independent would be too sure."""
    random = generator()
    speakers = np.repeat(np.arange(25), 20)
    errors = random.poisson(random.gamma(1.0, 2.0, 25)[speakers])
    words = np.full(500, 10)

    def width(names: list[str]) -> float:
        interval = percentile_interval(rates(*resampled_sums(block_sums(names, errors, words), generator()))[:, 0])
        return interval.high - interval.low

    assert width([str(s) for s in speakers]) > 2 * width(["one"] * 500)


def test_relative_differences() -> None:
    values = relative_differences(np.array([0.2, 0.0, 0.0, 0.1]), np.array([0.1, 0.0, 0.1, 0.1]))
    assert values.tolist() == [-0.5, 0.0, math.inf, 0.0]
