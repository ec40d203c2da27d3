"""Hotwords out of OpenAI's `prompt`, which may be a list of names as well as prose, and is never wrong."""

from __future__ import annotations

import re

from onebit_model.text.normalization import normalise
from onebit_model.text.search import LONGEST_HOTWORD, MOST_HOTWORDS, SearchTools

# What is longer is a sentence and not a name: nobody says it again word by word.
MOST_WORDS = 4
_ENDS = re.compile(r"[:.!?]+(?=\s|$)|[,;\n()\"]")


def phrases_of(prompt: str, tools: SearchTools) -> list[str]:
    """What stands between punctuation marks, as far as it can be a hotword: the first ones, each once.

    For the attention decoder as it is written there; for the CTC head in the letters that it has.
    """
    parts = [" ".join(part.split()) for part in _ENDS.split(prompt)]
    if tools.usual_decoder == "attention":
        phrases = [part for part in parts if any(map(str.isalnum, part))]
    else:
        letters = set("".join(tools.vocabulary)) | {" "}
        phrases = [phrase for phrase in map(normalise, parts) if phrase and set(phrase) <= letters]
    return list(dict.fromkeys(filter(_fits, phrases)))[:MOST_HOTWORDS]


def _fits(phrase: str) -> bool:
    return len(phrase) <= LONGEST_HOTWORD and len(phrase.split()) <= MOST_WORDS
