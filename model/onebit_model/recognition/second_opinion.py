"""Whether what the decoder wrote was said. A decoder writes fluent text over noise; three others are asked.

The decoder itself gives a probability that nobody speaks, the CTC head hears letters or none, and a voice detector,
which costs more than both, decides where these two do not agree. A text without an end, or one that goes in circles,
is not believed either: then the CTC's stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from onebit_model.text.decoding import Word

Fallback = Literal["loop", "no_speech", "too_long"]
"""Why a text of the decoder is not the answer; the CTC's is, for `no_speech` none."""

# Where it is higher than anything else the decoder writes nothing; a fifth is a doubt.
NO_SPEECH_PROBABILITY = 0.2
# The CTC head spells what it hears: a text of which it heard so small a share of the letters is not from the audio.
HEARD_SHARE = 0.25


@dataclass(frozen=True)
class Opinion:
    """Of the decoder: `unended` says why its text has no end, where it has none."""

    words: tuple[Word, ...]
    no_speech_probability: float
    unended: Fallback | None = None


@dataclass(frozen=True)
class Verdict:
    words: tuple[Word, ...]
    fallback: Fallback | None = None


def judged(written: Opinion, heard: Sequence[Word], finds_speech: Callable[[], bool]) -> Verdict:
    """The words to answer with, from those that were written and those that the CTC heard."""
    if written.unended is not None:
        nothing = written.no_speech_probability > NO_SPEECH_PROBABILITY and not finds_speech()
        return Verdict((), "no_speech") if nothing else Verdict(tuple(heard), written.unended)
    if not written.words:
        return Verdict(())
    heard_nothing = _letters(heard) < HEARD_SHARE * _letters(written.words)
    doubts = heard_nothing + (written.no_speech_probability > NO_SPEECH_PROBABILITY)
    if doubts == 2 or (doubts == 1 and not finds_speech()):
        return Verdict((), "no_speech")
    return Verdict(written.words)


def _letters(words: Sequence[Word]) -> int:
    return sum(character.isalnum() for word in words for character in word.text)
