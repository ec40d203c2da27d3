"""What the attention decoder wrote, as words: cut at spaces, punctuation stays with its word."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

from onebit_model.config import OUTPUT_FRAME_SECONDS
from onebit_model.text.decoding import Word
from onebit_model.text.pieces import Pieces

# Marks that no voice says: alone between spaces they belong to the word before them.
MARKS = frozenset("-–—…\"'“”‘’«».,;:!?()[]")


class TimedPiece(Protocol):
    """What the decoder emits: a piece and the output frames (40 ms) in which it is said."""

    @property
    def id(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def log_probability(self) -> float: ...


# CTC has heard a word before it is over: so much longer it lasts, at most until the next one begins.
REST_SECONDS = 0.08

Group = Sequence[TimedPiece]


def words_from_pieces(
    written: Iterable[TimedPiece],
    pieces: Pieces,
    segment_start_seconds: float = 0.0,
    calibrated: Callable[[float], float] = float,
) -> list[Word]:
    """Their words joined by spaces are the text that was written.

    A word is as certain as its least certain piece with a letter or digit, and `calibrated` maps that to the share of
    right words; it lasts from the first of these pieces to a little more than the last.
    """
    words: list[Word] = []
    groups: list[list[TimedPiece]] = []
    before = b" "
    for piece in written:
        spelled = pieces.pieces[piece.id]
        if spelled[:1].isspace() or before[-1:].isspace():
            groups.append([])
        groups[-1].append(piece)
        before = spelled or before
    for group in _joined_marks(groups, pieces):
        spoken = [piece for piece in group if _is_spoken(pieces.pieces[piece.id])] or group
        start = segment_start_seconds + spoken[0].frame * OUTPUT_FRAME_SECONDS
        end = segment_start_seconds + (spoken[-1].frame + spoken[-1].frames) * OUTPUT_FRAME_SECONDS
        text = " ".join(pieces.text(piece.id for piece in group).split())
        words.append(Word(text, start, end, calibrated(math.exp(min(piece.log_probability for piece in spoken)))))
    return [_prolonged(word, following) for word, following in pairwise([*words, None]) if word is not None]


def _prolonged(word: Word, following: Word | None) -> Word:
    end = word.end_seconds + REST_SECONDS
    if following is not None:
        end = max(word.end_seconds, min(end, following.start_seconds))
    return replace(word, end_seconds=end)


def _joined_marks(groups: Sequence[Group], pieces: Pieces) -> list[Group]:
    """Groups with something to read: marks alone go to the word before, at the beginning to the word after."""
    joined: list[Group] = []
    for group in groups:
        text = pieces.text(piece.id for piece in group).strip()
        if joined and (not text or set(text) <= MARKS or _is_only_marks(joined[-1], pieces)):
            joined[-1] = [*joined[-1], *group]
        else:
            joined.append(group)
    return [group for group in joined if pieces.text(piece.id for piece in group).strip()]


def _is_only_marks(group: Group, pieces: Pieces) -> bool:
    return set(pieces.text(piece.id for piece in group).strip()) <= MARKS


def _is_spoken(text: bytes) -> bool:
    """Whether it has a letter, a digit or a part of a character outside ASCII."""
    return any(byte >= 0x80 or chr(byte).isalnum() for byte in text)
