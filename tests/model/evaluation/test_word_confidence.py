"""Confidence of words: which are right, how far it is off, and the map that puts it right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.evaluation.scoring import align
from onebit_model.evaluation.word_confidence import are_right, calibration_error, fitted_map, right_words
from onebit_model.files.calibration import Calibration
from onebit_model.text.decoding import Word


def test_words_of_the_hypothesis_are_right_or_wrong_in_their_order() -> None:
    alignment = align(["the", "cat", "sat", "on", "the", "mat"], ["a", "cat", "sat", "sat", "the", "big", "mat"])
    assert list(are_right(alignment)) == [False, True, True, False, True, False, True]


def words(text: str) -> list[Word]:
    return [Word(word, n, n + 1, 0.5) for n, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("reference", "text", "right"),
    [
        ("mister smith paid five dollars", "Mr. Smith paid $5.", [True, True, True, True]),
        ("mister smith paid nine dollars", "Mr. Smith paid $5.", [True, True, True, False]),
        ("it is late", "It's late", [False, True]),
        ("no he said", "No \u2013 he said!", [True, True, True, True]),
        ("", "Thanks.", [False]),
    ],
)
def test_written_words_are_right_if_all_that_they_stand_for_was_said(
    reference: str, text: str, right: list[bool]
) -> None:
    assert right_words(reference, words(text)) == right


def test_calibration_error() -> None:
    assert calibration_error([0.95] * 4, [True] * 4) == pytest.approx(0.05)
    assert calibration_error([0.95, 0.15], [False, True]) == pytest.approx(0.9)
    assert calibration_error([0.55] * 20, [True] * 11 + [False] * 9) == pytest.approx(0)


def test_a_fitted_map_makes_confidence_true() -> None:
    random = np.random.default_rng(3)
    probabilities = random.uniform(0, 1, 20_000)
    right = random.uniform(0, 1, 20_000) < probabilities**3
    fitted = Calibration({1: fitted_map(probabilities.tolist(), right.tolist())})
    confidences = [fitted.confidence(1, p) for p in probabilities.tolist()]
    assert calibration_error(probabilities.tolist(), right.tolist()) > 0.2
    assert calibration_error(confidences, right.tolist()) < 0.01


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=300))
def test_every_map_can_be_stored(heard: list[tuple[float, bool]]) -> None:
    points = fitted_map([p for p, _ in heard], [right for _, right in heard])
    calibration = Calibration({4: points})
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_without_words_there_is_no_map() -> None:
    with pytest.raises(ValueError, match="no words"):
        fitted_map([], [])
