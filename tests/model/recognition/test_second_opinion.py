"""The decoder is believed when it writes what others hear, too."""

from __future__ import annotations

import pytest

from onebit_model.recognition.second_opinion import Fallback, Opinion, Verdict, judged
from onebit_model.text.decoding import Word


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, n, n + 0.5, 0.9) for n, word in enumerate(text.split()))


SAID, HEARD, LESS = words("Thank you, Mr. Smith."), words("thank you mister smit"), words("th")


@pytest.mark.parametrize(
    ("heard", "no_speech_probability", "voice", "answer"),
    [
        (HEARD, 0.0, False, Verdict(SAID)),
        (HEARD, 0.9, True, Verdict(SAID)),
        (HEARD, 0.9, False, Verdict((), "no_speech")),
        ((), 0.0, True, Verdict(SAID)),
        ((), 0.0, False, Verdict((), "no_speech")),
        (LESS, 0.0, False, Verdict((), "no_speech")),
        ((), 0.9, True, Verdict((), "no_speech")),
    ],
)
def test_two_of_three_decide(
    heard: tuple[Word, ...], no_speech_probability: float, voice: bool, answer: Verdict
) -> None:
    assert judged(Opinion(SAID, no_speech_probability), heard, lambda: voice) == answer


def test_the_voice_detector_is_asked_in_doubt_only() -> None:
    def never() -> bool:
        raise AssertionError

    assert judged(Opinion(SAID, 0.0), HEARD, never) == Verdict(SAID)
    assert judged(Opinion(SAID, 0.9), (), never) == Verdict((), "no_speech")
    assert judged(Opinion((), 0.9), HEARD, never) == Verdict(())


@pytest.mark.parametrize("reason", ["loop", "too_long"])
def test_a_text_without_an_end_gives_way_to_what_was_heard(reason: Fallback) -> None:
    opinion = Opinion(words("the the the"), 0.1, reason)
    assert judged(opinion, HEARD, lambda: True) == Verdict(HEARD, reason)
    assert judged(Opinion(words("the the"), 0.9, reason), HEARD, lambda: False) == Verdict((), "no_speech")
