from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.text.decoding import Word, confidence_of, text_of, words_from_tokens

PIECES = ("\u2581", "\u2581he", "l", "lo", "\u2581you", "'s")


@dataclass(frozen=True)
class Token:
    id: int
    frame: int
    frames: int = 1
    confidence: float = 0.9


def test_words_have_text_times_and_the_lowest_confidence() -> None:
    tokens = [Token(2, 10, 2, 0.9), Token(3, 13, 1, 0.5), Token(4, 15, 3, 0.8), Token(5, 30), Token(6, 32)]
    first, second = words_from_tokens(tokens, PIECES, 100.0)
    assert first == Word("hello", pytest.approx(100.4), pytest.approx(100.72), 0.5)
    assert second.text == "you's"
    assert text_of([first, second]) == "hello you's"
    assert confidence_of([first, second]) == pytest.approx(0.7)


def test_nothing() -> None:
    assert words_from_tokens([], PIECES) == []
    assert words_from_tokens([Token(1, 0), Token(1, 2)], PIECES) == []
    assert text_of([]) == ""
    assert confidence_of([]) == 1


def test_text_may_begin_inside_a_word() -> None:
    assert text_of(words_from_tokens([Token(3, 0), Token(2, 4)], PIECES)) == "l he"


def test_a_lone_word_start_joins_what_follows() -> None:
    (word,) = words_from_tokens([Token(1, 5), Token(3, 7)], PIECES)
    assert (word.text, word.start_seconds) == ("l", pytest.approx(0.2))


@given(st.lists(st.tuples(st.integers(1, len(PIECES)), st.integers(1, 5)), max_size=30))
def test_text_is_the_pieces_joined_and_times_rise(pieces: list[tuple[int, int]]) -> None:
    frame, tokens = 0, []
    for piece, frames in pieces:
        tokens.append(Token(piece, frame, frames))
        frame += frames
    words = words_from_tokens(tokens, PIECES)
    joined = "".join(PIECES[piece - 1] for piece, _ in pieces)
    assert text_of(words) == " ".join(joined.replace("\u2581", " ").split())
    assert all(word.start_seconds < word.end_seconds for word in words)
    assert all(a.end_seconds <= b.start_seconds + 1e-9 for a, b in itertools.pairwise(words))
