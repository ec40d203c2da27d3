"""What CTC says of written texts, against every way of spelling them, each aligned as CTC is defined."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from random_posteriors import posteriors

from onebit_kernels._core import CtcSpelling

CTC_PIECES = ["\u2581", "\u2581a", "\u2581b", "a", "b", "c", "'", "ab", "\u2581ca", "bc", "\u2581cab"]
WILDCARD = len(CTC_PIECES) + 1  # an output of its own in what the reference sees
WRITTEN = (
    [b""] * 6
    + [bytes([byte]) for byte in range(256)]
    + [b" A", b" cab", b"ab", b", B", "\u2019".encode(), b" 42", b' "']
)
BYTES = {piece: i for i, piece in enumerate(WRITTEN) if piece}
SPELLING = CtcSpelling(WRITTEN, CTC_PIECES)
Rows = NDArray[np.float32]


def written(text: str) -> list[int]:
    """The longest pieces from the left."""
    pieces, left = [], text.encode()
    while left:
        piece = max((p for p in BYTES if left.startswith(p)), key=len)
        pieces.append(BYTES[piece])
        left = left[len(piece) :]
    return pieces


def spoken(text: str) -> list[str]:
    """Symbols: letters, the mark that starts a word, and a star for a word that CTC cannot write."""
    plain = text.lower().replace("\u2019", "'")
    symbols: list[str] = []
    for quoted in re.split(r"[\s.,!?\"()-]+", plain):
        if word := quoted.strip("'"):
            symbols += ["\u2581", *word] if re.fullmatch(r"[abc']+", word) else ["*"]
    return symbols


def spellings(symbols: list[str]) -> Iterator[list[int]]:
    if not symbols:
        yield []
    elif symbols[0] == "*":
        yield from ([WILDCARD, *rest] for rest in spellings(symbols[1:]))
    for i, piece in enumerate(CTC_PIECES):
        if symbols[: len(piece)] == list(piece):
            yield from ([i + 1, *rest] for rest in spellings(symbols[len(piece) :]))


def alignments(rows: Rows, tokens: list[int], join) -> float:  # type: ignore[no-untyped-def]
    """CTC's recursion over the tokens with blanks between: the sum or the best one (Graves et al., 2006)."""
    labels = [0] + [label for token in tokens for label in (token, 0)]
    forward = np.full(len(labels), -np.inf)
    forward[:2] = rows[0, labels[:2]]
    for row in rows[1:]:
        before = forward.copy()
        for i, label in enumerate(labels):
            ways = [before[i], before[i - 1] if i else -np.inf]
            if i > 1 and label and label != labels[i - 2]:
                ways.append(before[i - 2])
            forward[i] = join(ways) + row[label]
    return float(join(forward[-2:]))


def with_wildcard(rows: Rows) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.concatenate([wide, wide.max(axis=1, keepdims=True)], axis=1)


TEXTS = ["A cab.", "cab, B!", "'ab' \u2019a'b\u2019", "bc-ab", "a 42 b", "42", "caba? (b)", "", "!", "aab bb"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("frames", [9, 14])
def test_every_spelling_counts(text: str, frames: int) -> None:
    rows = posteriors(frames, len(CTC_PIECES) + 1, frames, 1.0)
    ways = list(spellings(spoken(text)))
    assert ways
    wide = with_wildcard(rows)
    _, best, everything = SPELLING.align(rows, written(text))
    assert best == pytest.approx(max(alignments(wide, tokens, max) for tokens in ways), abs=1e-4)
    sums = [alignments(wide, tokens, np.logaddexp.reduce) for tokens in ways]
    assert everything == pytest.approx(np.logaddexp.reduce(sums), abs=1e-4)


def said(*tokens: tuple[int, int, int]) -> Rows:
    """Certain posteriors: (token, first frame, frames)."""
    rows = np.full((40, len(CTC_PIECES) + 1), np.log(1e-5), np.float32)
    rows[:, 0] = -0.01
    for token, first, frames in tokens:
        rows[first : first + frames, 0] = np.log(1e-3)
        rows[first : first + frames, token] = -0.01
    return rows


def test_pieces_are_found_where_ctc_heard_them() -> None:
    """`A cab, B`: the piece of the comma starts the next word."""
    ids = {piece: i + 1 for i, piece in enumerate(CTC_PIECES)}
    rows = said((ids["\u2581a"], 3, 2), (ids["\u2581ca"], 11, 1), (ids["b"], 14, 3), (ids["\u2581b"], 30, 1))
    pieces = written("A cab, B")
    times, best, _ = SPELLING.align(rows, pieces)
    texts = [WRITTEN[piece] for piece in pieces]
    assert texts == [b"A", b" cab", b", B"]
    assert times == [(3, 5), (11, 17), (30, 31)]
    assert best > -2


def test_what_ctc_cannot_write_may_sound_like_anything() -> None:
    ids = {piece: i + 1 for i, piece in enumerate(CTC_PIECES)}
    rows = said((ids["\u2581a"], 2, 1), (ids["\u2581b"], 10, 2), (ids["c"], 13, 2), (ids["\u2581cab"], 30, 2))
    times, _, _ = SPELLING.align(rows, written("A 42 cab"))
    assert times[0] == (2, 3)
    assert 2 < times[1][0] <= 10
    assert times[2] == (30, 32)


def test_a_silent_piece_has_no_length() -> None:
    times, _, _ = SPELLING.align(said((2, 5, 1), (3, 20, 2)), written("A!b"))
    assert times == [(5, 6), (6, 6), (20, 22)]


@pytest.mark.parametrize("text", ["cab " * 20, "a" * 500])
def test_too_few_frames(text: str) -> None:
    _, best, everything = SPELLING.align(posteriors(10, len(CTC_PIECES) + 1, 1), written(text))
    assert best == everything == -np.inf


CAB_A = ((11, 4, 2), (2, 12, 1))  # "cab" and "a"


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("cab a", "cab a"),
        ("cab A, cab, B A cab a", "cab A,"),  # from there on nothing was heard
        ('cab a, "cab abab', "cab a,"),  # an opening quote belongs to what follows
        ("cab a 42", "cab a 42"),  # what CTC cannot write may be there
        ("cab a 42 babacc", "cab a"),  # but nobody knows where it ends
        ("cab a cab", "cab a cab"),  # too little to be sure
        ("cab acb", "cab acb"),  # only misheard
        ("cab acbcbcbcb", "cab acbcbcbcb"),  # a text never ends within a word
        ("babacc", "babacc"),
        ("42", "42"),
        ("", ""),
        (" cab" * 40, " cab" * 40),  # too long for the lattice
    ],
)
def test_a_text_ends_where_nothing_more_was_heard(text: str, heard: str) -> None:
    pieces = written(text)
    assert SPELLING.heard_pieces(said(*CAB_A), pieces) == len(written(heard))


def test_words_that_were_misheard_stay() -> None:
    """CTC heard something there, if not this: without the words the text explains its frames no better."""
    rows = said(*CAB_A, (3, 20, 1), (5, 22, 1), (4, 24, 1), (6, 26, 1), (5, 28, 1), (6, 30, 1))
    pieces = written("cab a bacacaab")
    assert SPELLING.heard_pieces(rows, pieces) == len(pieces)
    assert SPELLING.heard_pieces(said(*CAB_A), pieces) == len(written("cab a"))


def test_a_deaf_ctc_head_ends_no_text() -> None:
    """Who has not heard what is to stay cannot say that the rest was not said."""
    pieces = written("cab ab cab abab")
    assert SPELLING.heard_pieces(said(), pieces) == len(pieces)


def test_what_a_spelling_refuses() -> None:
    with pytest.raises(ValueError, match="no piece starts a word"):
        CtcSpelling(WRITTEN, ["a", "b"])
    with pytest.raises(ValueError, match="no piece 9999"):
        SPELLING.align(posteriors(10, len(CTC_PIECES) + 1, 1), [9999])
