"""CTC tokens to words with times and confidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from onebit_model.config import OUTPUT_FRAME_SECONDS

WORD_START = "\u2581"


class TimedToken(Protocol):
    """What the engine emits: a piece and the output frames (40 ms) that it was seen in."""

    @property
    def id(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def confidence(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start_seconds: float
    end_seconds: float
    confidence: float


def words_from_tokens(
    tokens: Iterable[TimedToken], vocabulary: Sequence[str], segment_start_seconds: float = 0.0
) -> list[Word]:
    """Joins pieces to words; token id 1 is vocabulary[0], and a piece with `WORD_START` begins a word.

    A word is as certain as its least certain piece: one wrong piece makes the word wrong.
    """
    groups: list[list[TimedToken]] = []
    for token in tokens:
        if not groups or vocabulary[token.id - 1].startswith(WORD_START):
            groups.append([])
        groups[-1].append(token)
    words = (_join(group, vocabulary, segment_start_seconds) for group in groups)
    return [word for word in words if word.text]


def _join(group: Sequence[TimedToken], vocabulary: Sequence[str], offset_seconds: float) -> Word:
    first, last = group[0], group[-1]
    return Word(
        text="".join(vocabulary[token.id - 1] for token in group).replace(WORD_START, ""),
        start_seconds=offset_seconds + first.frame * OUTPUT_FRAME_SECONDS,
        end_seconds=offset_seconds + (last.frame + last.frames) * OUTPUT_FRAME_SECONDS,
        confidence=min(token.confidence for token in group),
    )


def text_of(words: Iterable[Word]) -> str:
    return " ".join(word.text for word in words)


def confidence_of(words: Sequence[Word]) -> float:
    """Expected share of right words; 1 for an empty text, which claims nothing."""
    return sum(word.confidence for word in words) / len(words) if words else 1.0
