"""The one normaliser that references and hypotheses pass before they are compared."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")
_NOT_WORD = re.compile(r"[^a-z0-9' ]+")


def normalise(text: str) -> str:
    """Lower case, no punctuation, no accents, single spaces; apostrophes stay only inside words.

    Digits stay, although labels spell numbers out: a system that writes digits must not be excused from them.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES).casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    words = (word.strip("'") for word in _NOT_WORD.sub(" ", plain).split())
    return " ".join(word for word in words if word)
