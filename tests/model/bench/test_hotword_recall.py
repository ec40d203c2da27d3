"""The measurement of docs/search.md counts what it says."""

from __future__ import annotations

import numpy as np

from onebit_model.bench.hotword_recall import Tally, heard_text, rare_words
from onebit_model.text.search import Search

VOCABULARY = ("\u2581a", "b", "\u2581c")


def test_counts() -> None:
    tally = Tally()
    tally.add(
        "the gospel of quilter", "the gospel of kitchen lamp", {"gospel", "quilter"}, {"gospel", "quilter", "lamp"}
    )
    assert (tally.right, tally.rare, tally.foreign) == (1, 2, 1)
    assert tally.errors.words == 4


def test_rare_words_are_long_and_not_frequent() -> None:
    sentences = [f"{a}{b}{c}" for a in "abcdefghijklmno" for b in "abcdefghijklmno" for c in "abcdefghijklmno"]
    (words,) = rare_words(
        [("set", "aaa frequent quilter of", np.zeros((1, 1), np.float32))], ["frequent"] * 5 + sentences
    )
    assert words == {"quilter"}


def test_greedy_and_beam_read_the_same_certain_rows() -> None:
    ids = [1, 1, 0, 2, 0, 2, 3, 0]
    rows = np.log(np.full((len(ids), 4), 1e-6, np.float32))
    rows[range(len(ids)), ids] = 0
    assert heard_text(rows, Search(1), VOCABULARY) == heard_text(rows, Search(8), VOCABULARY) == "abb c"
