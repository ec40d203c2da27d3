"""Hotwords out of OpenAI's `prompt`, which may be a list of names as well as prose, and is never wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

from onebit_model.text.normalization import normalise
from onebit_model.text.search import LONGEST_HOTWORD, MOST_HOTWORDS

# What is longer is a sentence and not a name: nobody says it again word by word.
MOST_WORDS = 4
_ENDS = re.compile(r"[:.!?]+(?=\s|$)|[,;\n()\"]")


def phrases_of(prompt: str, vocabulary: Sequence[str]) -> list[str]:
    """What stands between punctuation marks, as far as it can be a hotword: the first ones, each once."""
    letters = set("".join(vocabulary)) | {" "}
    phrases = dict.fromkeys(normalise(part) for part in _ENDS.split(prompt))
    fit = (phrase for phrase in phrases if phrase and _fits(phrase) and set(phrase) <= letters)
    return list(fit)[:MOST_HOTWORDS]


def _fits(phrase: str) -> bool:
    return len(phrase) <= LONGEST_HOTWORD and len(phrase.split()) <= MOST_WORDS
