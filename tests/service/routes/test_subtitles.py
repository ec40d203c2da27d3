"""Cues fit the screen, lose nothing, and end where a reader would pause."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.recognition.segment import Segment
from onebit_model.text.decoding import Word
from onebit_service.routes.subtitles import CUE_SECONDS, SubtitleShape, cues_of, srt, vtt


def spoken(text: str, pauses: dict[int, float] | None = None, track: int = 0) -> Segment:
    """Five words in two seconds, and a pause before the words of `pauses`."""
    at = 0.0
    words = []
    for number, word in enumerate(text.split()):
        at += (pauses or {}).get(number, 0.0)
        words.append(Word(word, at, at + 0.35, 0.9))
        at += 0.4
    return Segment(0.0, at, tuple(words), track)


def lines_of(segment: Segment, width: int = 42, count: int = 2) -> list[tuple[str, ...]]:
    return [cue.lines for cue in cues_of([segment], SubtitleShape(width, count), name_channels=False)]


def test_cues_end_with_sentences_and_clauses() -> None:
    text = (
        "He came late. When the others had left the house, she sat down at the table and wrote a letter to Mr. Brown."
    )
    assert lines_of(spoken(text)) == [
        ("He came late. When the", "others had left the house,"),
        ("she sat down at the table and", "wrote a letter to Mr. Brown."),
    ]


def test_text_without_marks_fills_its_cues() -> None:
    """As the CTC head writes it: the fewest cues, lines of nearly one length."""
    text = "the quick brown fox jumps over the lazy dog and runs into the dark forest"
    assert lines_of(spoken(text)) == [("the quick brown fox jumps over the", "lazy dog and runs into the dark forest")]


def test_a_breath_is_a_better_end_than_none() -> None:
    words = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november"
    assert next(" ".join(cue) for cue in lines_of(spoken(words, {6: 0.4}), 42, 1)).endswith("foxtrot")


def test_a_long_pause_ends_a_cue() -> None:
    assert lines_of(spoken("one two", {1: 1.5})) == [("one",), ("two",)]


def test_a_word_wider_than_a_line_stands_alone() -> None:
    assert lines_of(spoken("an incomprehensibilities test"), 10, 2) == [("an", "incomprehensibilities"), ("test",)]


def test_markup_of_vtt_is_escaped_and_channels_are_named() -> None:
    segments = [spoken("AT&T's <b> word"), spoken("Yes.", track=1)]
    assert vtt(segments, SubtitleShape(), name_channels=False) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.150\nAT&amp;T's &lt;b&gt; word\n\n00:00:00.000 --> 00:00:00.350\nYes.\n\n"
    )
    assert srt(segments, SubtitleShape(), name_channels=True) == (
        "1\n00:00:00,000 --> 00:00:01,150\n[0] AT&T's <b> word\n\n2\n00:00:00,000 --> 00:00:00,350\n[1] Yes.\n\n"
    )


@given(
    st.lists(st.text("abc.,!?", min_size=1, max_size=14), max_size=40),
    st.integers(5, 50),
    st.integers(1, 4),
)
def test_everything_is_shown_and_fits(texts: Sequence[str], width: int, count: int) -> None:
    segment = spoken(" ".join(texts))
    cues = list(cues_of([segment], SubtitleShape(width, count), name_channels=False))
    assert " ".join(" ".join(cue.lines) for cue in cues) == segment.text
    for cue in cues:
        assert len(cue.lines) <= count or (len(cue.lines) == 1)
        assert all(len(line) <= width or " " not in line for line in cue.lines)
        assert cue.end_seconds - cue.start_seconds <= CUE_SECONDS
    assert all(a.end_seconds <= b.start_seconds for a, b in itertools.pairwise(cues))


@pytest.mark.parametrize("words", [400])
def test_a_long_segment_takes_no_time(words: int) -> None:
    assert len(lines_of(spoken("word " * words))) == pytest.approx(words * 0.4 / CUE_SECONDS, rel=0.3)
