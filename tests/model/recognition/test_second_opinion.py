"""The decoder is believed when it writes what others hear, too."""

from __future__ import annotations

import pytest

from onebit_model.recognition.second_opinion import Fallback, Opinion, Verdict, judged
from onebit_model.text.decoding import Word


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, n, n + 0.5, 0.9) for n, word in enumerate(text.split()))


SAID, HEARD, LESS = words("Thank you, Mr. Smith."), words("thank you mister smit"), words("th")
MADE_UP = Verdict((), "no_speech")


@pytest.mark.parametrize(
    ("heard", "probability", "agreement", "voice", "answer"),
    [
        (HEARD, 0.0, -0.1, False, Verdict(SAID)),
        (HEARD, 0.9, -0.1, True, Verdict(SAID)),
        (HEARD, 0.1, -0.1, False, MADE_UP),
        ((), 0.0, -0.1, True, Verdict(SAID)),
        ((), 0.0, -0.1, False, MADE_UP),
        (LESS, 0.0, -0.1, False, MADE_UP),
        (HEARD, 0.0, -3.0, True, Verdict(SAID)),
        (HEARD, 0.0, -3.0, False, MADE_UP),
        (HEARD, 0.0, float("-inf"), False, MADE_UP),
        ((), 0.9, -0.1, True, MADE_UP),
    ],
)
def test_who_doubts_and_who_decides(
    heard: tuple[Word, ...], probability: float, agreement: float, voice: bool, answer: Verdict
) -> None:
    assert judged(Opinion(SAID, probability, agreement), heard, lambda: voice) == answer


def test_the_voice_detector_is_asked_in_doubt_only() -> None:
    def never() -> bool:
        raise AssertionError

    assert judged(Opinion(SAID, 0.0), HEARD, never) == Verdict(SAID)
    assert judged(Opinion(SAID, 0.9), (), never) == MADE_UP


def test_who_writes_nothing_where_nobody_speaks_says_so() -> None:
    assert judged(Opinion((), 0.0), HEARD, lambda: False) == MADE_UP
    assert judged(Opinion((), 0.0), HEARD, lambda: True) == Verdict(())


@pytest.mark.parametrize("reason", ["loop", "too_long"])
def test_a_text_without_an_end_gives_way_to_what_was_heard(reason: Fallback) -> None:
    opinion = Opinion(words("the the the"), 0.1, -0.1, reason)
    assert judged(opinion, HEARD, lambda: True) == Verdict(HEARD, reason)
    assert judged(Opinion(words("the the"), 0.9, -0.1, reason), HEARD, lambda: False) == MADE_UP
