"""Words of what the decoder wrote: nothing of the text is lost, and each has its time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.text.decoding import text_of
from onebit_model.text.pieces import END, SINGLE_BYTES, SPECIALS, START, Pieces
from onebit_model.text.written_words import MARKS, words_from_pieces

MERGED = (b" the", b" Mr", b" 1", b"00", b" caf", b" \xe2\x80\x93", b"...", b' "', b" $", b" a", b", ")
PIECES = Pieces((*[b""] * len(SPECIALS), *SINGLE_BYTES, *MERGED))
IDS = {piece: i for i, piece in enumerate(PIECES.pieces) if piece}


@dataclass(frozen=True)
class Token:
    id: int
    frame: int
    frames: int = 1
    probability: float = 0.9

    @property
    def log_probability(self) -> float:
        return math.log(self.probability)


def tokens(*pieces: bytes) -> list[Token]:
    """Pieces, one a frame; those that are no piece are spelled."""
    ids = [i for piece in pieces for i in ([IDS[piece]] if piece in IDS else [IDS[bytes([b])] for b in piece])]
    return [Token(i, frame) for frame, i in enumerate(ids)]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([b" the", b" caf", "é".encode(), b"."], ["the", "café."]),
        ([b"the", b" a"], ["the", "a"]),
        ([b" Mr", b".", b" the"], ["Mr.", "the"]),
        ([b" $", b"1", b"00", b",", b"00"], ["$100,00"]),
        ([b" the", b", ", b"a"], ["the,", "a"]),
        ([b' "', b"Hi", b'"'], ['"Hi"']),
        ([b" the", b" \xe2\x80\x93", b" a"], ["the –", "a"]),
        ([b" \xe2\x80\x93", b" the"], ["– the"]),
        ([b" the", b" & ", b" a"], ["the", "&", "a"]),
        ([b" ", b"the", b" ", b" "], ["the"]),
        ([b" ..."], ["..."]),
        ([b" "], []),
        ([], []),
    ],
)
def test_words(pieces: list[bytes], words: list[str]) -> None:
    assert [word.text for word in words_from_pieces(tokens(*pieces), PIECES)] == words


def test_times_and_confidence_are_those_of_what_is_spoken() -> None:
    heard = [
        Token(IDS[b" "], 3, 1, 0.1),
        Token(IDS[b"s"], 5, 2, 0.8),
        Token(IDS[b"o"], 8, 2, 0.7),
        Token(IDS[b","], 20, 5, 0.2),
    ]
    (word,) = words_from_pieces(heard, PIECES, 10.0, lambda probability: probability / 2)
    assert word.text == "so,"
    assert (word.start_seconds, word.end_seconds) == pytest.approx((10.2, 10.48))
    assert word.confidence == pytest.approx(0.35)


def test_specials_write_nothing() -> None:
    (word,) = words_from_pieces([Token(START, 0), Token(IDS[b" the"], 1), Token(END, 9)], PIECES)
    assert word.text == "the"
    assert word.end_seconds == pytest.approx(0.16)


def test_a_word_lasts_until_the_next_at_most() -> None:
    heard = [Token(IDS[b" the"], 0, 5), Token(IDS[b" a"], 6, 2), Token(IDS[b" the"], 20, 1)]
    ends = [word.end_seconds for word in words_from_pieces(heard, PIECES)]
    assert ends == pytest.approx([0.24, 0.4, 0.92])


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=30))
def test_nothing_of_the_text_is_lost(ids: list[int]) -> None:
    heard = [Token(i, frame) for frame, i in enumerate(ids)]
    words = words_from_pieces(heard, PIECES)
    assert text_of(words) == " ".join(PIECES.text(ids).split())
    assert all(set(word.text) - MARKS - {" "} for word in words) or len(words) == 1
    assert [word.start_seconds for word in words] == sorted(word.start_seconds for word in words)
