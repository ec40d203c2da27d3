"""Word errors: alignment of two texts and the counts that word error rates are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onebit_model.text.canonical_forms import canonical


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Errors of a text against its reference of `words` words."""

    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Word error rate; infinite when there are errors but no words."""
        if self.words:
            return self.errors / self.words
        return float("inf") if self.errors else 0.0

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True, slots=True)
class Alignment:
    """Per reference word: recognised or not; per gap (before each word and at the end): words inserted there."""

    correct: tuple[bool, ...]
    deleted: tuple[bool, ...]
    inserted: tuple[int, ...]

    @property
    def counts(self) -> ErrorCounts:
        deletions = sum(self.deleted)
        return ErrorCounts(
            words=len(self.correct),
            substitutions=len(self.correct) - sum(self.correct) - deletions,
            deletions=deletions,
            insertions=sum(self.inserted),
        )


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Alignment with the fewest errors; among equals substitutions are preferred, then deletions."""
    distances = _distances(reference, hypothesis)
    correct = [False] * len(reference)
    deleted = [False] * len(reference)
    inserted = [0] * (len(reference) + 1)
    r, h = len(reference), len(hypothesis)
    while r or h:
        here = distances[r][h]
        if r and h and here == distances[r - 1][h - 1] + (reference[r - 1] != hypothesis[h - 1]):
            r, h = r - 1, h - 1
            correct[r] = reference[r] == hypothesis[h]
        elif r and here == distances[r - 1][h] + 1:
            r -= 1
            deleted[r] = True
        else:
            h -= 1
            inserted[r] += 1
    return Alignment(tuple(correct), tuple(deleted), tuple(inserted))


def _distances(reference: Sequence[str], hypothesis: Sequence[str]) -> list[list[int]]:
    """distances[r][h]: fewest errors between the first r and the first h words."""
    rows = [list(range(len(hypothesis) + 1))]
    for r, word in enumerate(reference, 1):
        above = rows[-1]
        row = [r]
        for h, other in enumerate(hypothesis):
            row.append(min(above[h] + (word != other), above[h + 1] + 1, row[h] + 1))
        rows.append(row)
    return rows


def align_texts(reference: str, hypothesis: str) -> Alignment:
    """Alignment of two texts, both as they are said and in one form of the several that numbers and words have."""
    return align(canonical(reference).split(), canonical(hypothesis).split())
