"""What the attention decoder wrote, as words: cut at spaces, punctuation stays with its word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from onebit_model.config import OUTPUT_FRAME_SECONDS
from onebit_model.text.decoding import TimedToken, Word
from onebit_model.text.pieces import Pieces

# Marks that no voice says: alone between spaces they belong to the word before them.
MARKS = frozenset("-–—…\"'“”‘’«».,;:!?()[]")

Group = Sequence[TimedToken]


def words_from_pieces(
    tokens: Iterable[TimedToken],
    pieces: Pieces,
    segment_start_seconds: float = 0.0,
    calibrated: Callable[[float], float] = float,
) -> list[Word]:
    """`tokens` hold ids of `pieces`; their words joined by spaces are the text that was written.

    A word is as certain as its least certain piece with a letter or digit, and `calibrated` maps that to the share of
    right words; it lasts from the first of these pieces to the last.
    """
    words: list[Word] = []
    groups: list[list[TimedToken]] = []
    for token in tokens:
        if not groups or pieces.pieces[token.id][:1].isspace():
            groups.append([])
        groups[-1].append(token)
    for group in _joined_marks(groups, pieces):
        spoken = [token for token in group if _is_spoken(pieces.pieces[token.id])] or group
        start = segment_start_seconds + spoken[0].frame * OUTPUT_FRAME_SECONDS
        end = segment_start_seconds + (spoken[-1].frame + spoken[-1].frames) * OUTPUT_FRAME_SECONDS
        text = " ".join(pieces.text(token.id for token in group).split())
        words.append(Word(text, start, end, calibrated(min(token.confidence for token in spoken))))
    return words


def _joined_marks(groups: Sequence[Group], pieces: Pieces) -> list[Group]:
    """Groups with something to read: marks alone go to the word before, at the beginning to the word after."""
    joined: list[Group] = []
    for group in groups:
        text = pieces.text(token.id for token in group).strip()
        if joined and (not text or set(text) <= MARKS or _is_only_marks(joined[-1], pieces)):
            joined[-1] = [*joined[-1], *group]
        else:
            joined.append(group)
    return [group for group in joined if pieces.text(token.id for token in group).strip()]


def _is_only_marks(group: Group, pieces: Pieces) -> bool:
    return set(pieces.text(token.id for token in group).strip()) <= MARKS


def _is_spoken(piece: bytes) -> bool:
    """Whether a piece has a letter, a digit or a part of a character outside ASCII."""
    return any(byte >= 0x80 or chr(byte).isalnum() for byte in piece)
