"""Several ways to say or spell the same are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.text.canonical_forms import canonical
from onebit_model.text.normalization import normalise

SAME = [
    ("1,250 people", "1250 people", "twelve hundred fifty people", "one thousand two hundred and fifty people"),
    ("2004", "two thousand four", "two thousand and four", "twenty oh four"),
    ("2015", "two thousand fifteen", "two thousand and fifteen", "twenty fifteen"),
    ("105", "one hundred five", "one hundred and five", "a hundred and five", "one oh five"),
    ("in 1905", "in nineteen hundred and five", "in nineteen oh five", "in nineteen o five"),
    ("the 1900s", "the nineteen hundreds"),
    ("in 1066", "in ten sixty six", "in one thousand and sixty six"),
    ("5600", "5,600", "fifty six hundred", "five thousand six hundred"),
    ("250,000", "250 thousand", "two hundred fifty thousand", "two hundred and fifty thousand"),
    ("32,050", "thirty two thousand fifty", "thirty two thousand and fifty"),
    ("21,200", "twenty one thousand two hundred"),
    ("1 million", "1,000,000", "a million", "one million"),
    ("the 101st", "the one hundred first", "the one hundred and first"),
    ("0.5", ".5", "zero point five", "point five"),
    ("2 1/2", "2½", "two and a half"),
    ("$3.50", "three dollars and fifty cents", "three dollars fifty"),
    ("a $5 bill", "a five dollar bill"),
    ("£2.50", "two pounds and fifty pence", "two pounds fifty"),
    ("555-0123", "five five five oh one two three", "five five five zero one two three"),
    ("10:05", "ten oh five", "ten o five"),
    ("10:00 a.m.", "10 am", "ten a m", "ten am", "ten o'clock a m"),
    ("7 p.m.", "7pm", "seven pm", "seven p m"),
    ("May 3", "May 3rd", "may three", "may third", "may the third"),
    ("September 21, 1914", "september twenty first nineteen fourteen"),
    ("December 30", "december thirtieth"),
    ("the U.S. Army", "the US Army", "the u s army"),
    ("in a U.S.A. team", "in a USA team"),
    ("H. G. Bennet met J.J. Smith", "h g bennet met j j smith", "HG Bennet met JJ Smith"),
    ("Henry VIII", "Henry the eighth", "Henry the VIII"),
    ("World War II", "world war two", "World War 2"),
    ("Chapter XIV", "chapter fourteen", "Chapter 14"),
    ("OK", "okay", "Okay."),
    ("cats, etc.", "cats et cetera", "cats etcetera"),
    ("25%", "25 per cent", "twenty five percent"),
    ("Mr Smith, Jr", "mister smith junior", "Mr. Smith, Jr."),
    ("the grey colour of their neighbours", "the gray color of their neighbors"),
    ("the theatre organised travellers", "the theater organized travelers"),
    ("to-day some one came in to it", "today someone came into it"),
    ("e-mail", "email", "e mail"),
]
DIFFERENT = [
    ("1,250", "1,215"),
    ("three", "thirty"),
    ("one hundred", "one thousand"),
    ("fifty six hundred", "fifty six"),
    ("2004", "2014"),
    ("May 3", "May 30"),
    ("$3.50", "$3.15"),
    ("$5", "£5"),
    ("7 a.m.", "7 p.m."),
    ("Henry VIII", "Henry VII"),
    ("four hours", "for ours"),
    ("our tour", "or tor"),
    ("rise", "rize"),
    ("one o'clock", "one oh clock"),
]
UNCHANGED = [
    "a b c", "spell it b o x", "i i can't", "four hours of our tour", "you and i", "salt and pepper", "two and three",
    "o'clock at one o'clock", "a handful", "hundreds and thousands", "vitamin c is", "there were more", "they rise",
    "going to a half way house", "metric and acre", "the promise exercised", "zero", "oh one may", "it is in a tomb",
]  # fmt: skip


@pytest.mark.parametrize("texts", SAME, ids=lambda texts: texts[0])
def test_the_same(texts: tuple[str, ...]) -> None:
    assert len({canonical(text) for text in texts}) == 1


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_not_the_same(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("text", UNCHANGED)
def test_plain_words_stay(text: str) -> None:
    assert canonical(text).replace("half", "a half") == text


@given(st.lists(st.sampled_from(sorted({word for texts in SAME for text in texts for word in text.split()}))))
def test_what_is_said_has_the_form_of_what_is_written(words: list[str]) -> None:
    text = " ".join(words)
    assert canonical(normalise(text)) == canonical(text)


def test_written_text_has_no_errors_against_what_was_said() -> None:
    said = "on may the third nineteen oh five mister o'brien paid a hundred and five dollars for number seven"
    counts = align_texts(said, "On May 3rd, 1905, Mr. O'Brien paid $105 for No. 7.").counts
    assert counts.errors == 0
    assert align_texts(said, "On May 3rd, 1905, Mr. O'Brien paid $115 for No. 7.").counts.errors == 2
    assert align_texts("the 7 colours", "the eleven colors").counts == ErrorCounts(3, substitutions=1)
