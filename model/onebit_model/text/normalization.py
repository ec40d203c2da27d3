"""The one form that references, hypotheses and hotwords take before they are compared: words as they are said."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from onebit_model.text.spoken_forms import spoken_forms

# What the standard decomposition (NFKD) leaves, as it is written without the letter or the mark.
_LETTERS = {
    "’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"', "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe",
    "ø": "o", "Ø": "O", "ß": "ss", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "ı": "i", "⁄": "/",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-",
}  # fmt: skip
_TRANSLATION = str.maketrans(_LETTERS)
_FRACTION_AFTER_A_DIGIT = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_ALREADY_WORDS = re.compile(r"[a-z ]*")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a text between spaces, or several that are said together (`$3 million`): the numbers of the first and
    the last of `text.split()`, and what is said."""

    first: int
    last: int
    said: tuple[str, ...]


@lru_cache(maxsize=4096)
def normalise(text: str) -> str:
    """What is said when the text is read aloud: a-z, apostrophes inside words, single spaces.

    Figures, money, times, units and common abbreviations are words, accents and punctuation are gone. A text that is in
    this form already stays as it is.
    """
    if _ALREADY_WORDS.fullmatch(text):
        return " ".join(text.split())
    folded = " ".join(filter(None, map(_folded, text.split())))
    return " ".join(word for said, _, _ in spoken_forms(folded) for word in _words(said))


def spoken_units(text: str) -> list[Unit]:
    """A written text part by part, together all that `normalise` gives; parts of which nothing is said are left out."""
    parts = [(number, folded) for number, part in enumerate(text.split()) if (folded := _folded(part))]
    starts = [0, *accumulate(len(folded) + 1 for _, folded in parts)]
    units: list[Unit] = []
    last_part = -1
    for said, start, end in spoken_forms(" ".join(folded for _, folded in parts)):
        first, last = (parts[bisect_right(starts, at) - 1][0] for at in (start, end - 1))
        words = _words(said)
        if first == last_part:
            words = [*units[-1].said, *words]
            first = units.pop().first
        units.append(Unit(first, last, tuple(words)))
        last_part = last
    return units


def _folded(part: str) -> str:
    """ASCII, without accents and without spaces; what has no such form becomes a hyphen."""
    if part.isascii():
        return part.replace("`", "'")
    plain = unicodedata.normalize("NFKD", _FRACTION_AFTER_A_DIGIT.sub("-", part).translate(_TRANSLATION))
    plain = "".join(c for c in plain.translate(_TRANSLATION) if not unicodedata.combining(c) and not c.isspace())
    return re.sub(r"[^!-~£€¢°]", "-", plain)


def _words(said: str) -> list[str]:
    return [word for part in said.lower().split() if (word := part.strip("'"))]
