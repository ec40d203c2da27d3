"""Whether what the decoder wrote was said. A decoder writes fluent text over noise; three others are asked.

The decoder itself gives a probability that nobody speaks, the CTC head hears the same letters, others or none, and
where one of the two doubts a voice detector decides, which costs more than both. A text without an end, or one that
goes in circles, is not believed either: then the CTC's stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from onebit_model.text.decoding import Word, confidence_of

Fallback = Literal["loop", "no_speech", "too_long"]
"""Why a text of the decoder is not the answer; the CTC's is, for `no_speech` none."""

# What makes a voice detector be asked, and what counts as a no. Where the decoder's probability that nobody speaks is
# higher than all else it writes nothing.
DOUBTFUL_PROBABILITY, NO_SPEECH_PROBABILITY = 0.02, 0.2
# The CTC head spells what it hears. Of a text that is not from the audio it hears few letters.
DOUBTFUL_SHARE, HEARD_SHARE = 0.5, 0.25
# And it finds others: by so much, as a log-probability per letter, its best alignment is worse than its best text.
DOUBTFUL_AGREEMENT = -1.0

# The CTC head alone hears words in tones and music, with less confidence than in any but the hardest speech.
DOUBTFUL_CONFIDENCE = 0.25


@dataclass(frozen=True)
class Opinion:
    """Of the decoder, with what CTC thinks of its text: `unended` says why that has no end, where it has none."""

    words: tuple[Word, ...]
    no_speech_probability: float
    ctc_agreement: float = 0.0
    unended: Fallback | None = None


@dataclass(frozen=True)
class Verdict:
    words: tuple[Word, ...]
    fallback: Fallback | None = None


def judged(written: Opinion, heard: Sequence[Word], finds_speech: Callable[[], bool]) -> Verdict:
    """The words to answer with, from those that were written and those that the CTC heard."""
    probability = written.no_speech_probability
    if written.unended is not None:
        nothing = probability > DOUBTFUL_PROBABILITY and not finds_speech()
        return Verdict((), "no_speech") if nothing else Verdict(tuple(heard), written.unended)
    if not written.words:
        return Verdict((), None if finds_speech() else "no_speech")
    share = _letters(heard) / max(_letters(written.words), 1)
    is_made_up = probability > NO_SPEECH_PROBABILITY and share < HEARD_SHARE
    is_doubtful = (
        probability > DOUBTFUL_PROBABILITY or share < DOUBTFUL_SHARE or written.ctc_agreement < DOUBTFUL_AGREEMENT
    )
    if is_made_up or (is_doubtful and not finds_speech()):
        return Verdict((), "no_speech")
    return Verdict(written.words)


def is_nothing(words: Sequence[Word], finds_speech: Callable[[], bool]) -> bool:
    """Whether nobody spoke where the CTC head heard these words, or none."""
    is_doubtful = not words or confidence_of(words) < DOUBTFUL_CONFIDENCE
    return is_doubtful and not finds_speech()


def _letters(words: Sequence[Word]) -> int:
    return sum(character.isalnum() for word in words for character in word.text)
