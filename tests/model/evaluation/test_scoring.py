from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.evaluation.scoring import ErrorCounts, align, align_texts

WORDS = st.lists(st.sampled_from("abcd"), max_size=9)


def levenshtein(first: list[str], second: list[str]) -> int:
    """The definition, exponential but for memory: an implementation of its own."""
    if not first or not second:
        return len(first) + len(second)
    if first[-1] == second[-1]:
        return levenshtein(first[:-1], second[:-1])
    # A suffix that differs: one of the three edits.
    return 1 + min(
        levenshtein(first[:-1], second[:-1]), levenshtein(first[:-1], second), levenshtein(first, second[:-1])
    )


@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("abc"), max_size=5))
def test_fewest_errors(reference: list[str], hypothesis: list[str]) -> None:
    assert align(reference, hypothesis).counts.errors == levenshtein(reference, hypothesis)


@given(WORDS, WORDS)
def test_an_alignment_accounts_for_every_word(reference: list[str], hypothesis: list[str]) -> None:
    alignment = align(reference, hypothesis)
    counts = alignment.counts
    assert counts.words == len(reference)
    assert sum(alignment.correct) + counts.substitutions + counts.insertions == len(hypothesis)
    assert sum(alignment.correct) + counts.substitutions + counts.deletions == len(reference)
    assert not any(c and d for c, d in zip(alignment.correct, alignment.deleted, strict=True))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", ErrorCounts(0)),
        ("a b c", "a b c", ErrorCounts(3)),
        ("a b c", "", ErrorCounts(3, deletions=3)),
        ("", "a b", ErrorCounts(0, insertions=2)),
        ("a b c", "a x c", ErrorCounts(3, substitutions=1)),
        ("a b c", "a c d", ErrorCounts(3, substitutions=2)),
        ("A, b-C!", "a b c", ErrorCounts(3)),
        ("it was the best", "its the best", ErrorCounts(4, substitutions=1, deletions=1)),
    ],
)
def test_counts(reference: str, hypothesis: str, expected: ErrorCounts) -> None:
    assert align_texts(reference, hypothesis).counts == expected


def test_rates() -> None:
    assert ErrorCounts(4, 1, 1, 1).rate == 0.75
    assert ErrorCounts().rate == 0
    assert ErrorCounts(0, insertions=1).rate == float("inf")
    assert ErrorCounts(1, 1) + ErrorCounts(2, 0, 1, 3) == ErrorCounts(3, 1, 1, 3)
