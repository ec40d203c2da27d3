"""Beam and hotwords, from what a request says to what is heard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_set
from onebit_model.errors import SearchOptionError
from onebit_model.recognition.live import Final, LiveOptions, LiveStream, Partial
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segment import Segment
from onebit_model.recognition.segmentation import AudioSegment
from onebit_model.text.pieces import SINGLE_BYTES, SPECIALS, Pieces
from onebit_model.text.search import GREEDY, Search, SearchTools, chosen_search

VOCABULARY = ("\u2581", *"abcdefghijklmnopqrstuvwxyz'")
BITS = 4


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return [u for u in read_set("librispeech-other") if 2 < u.duration_seconds < 8][:8]


def long_words(utterance: Utterance) -> list[str]:
    return [word for word in utterance.text.split() if len(word) > 3]


def ctc(recognizer: Recognizer, beam: int | None, hotwords: Iterable[str] = ()) -> Search:
    """A search of the CTC head, whoever else the model may have."""
    return recognizer.search(beam, hotwords, "ctc")


def words_of(segments: list[Segment]) -> list[str]:
    return [word.text for segment in segments for word in segment.words]


def test_what_is_chosen() -> None:
    assert chosen_search(None, [], SearchTools(VOCABULARY)) == GREEDY == Search(1, None)
    assert chosen_search(1, [" "], SearchTools(VOCABULARY)) == GREEDY
    assert chosen_search(32, [], SearchTools(VOCABULARY)) == Search(32, None)
    preferring = chosen_search(None, ["Ren\u00e9e's caf\u00e9", ""], SearchTools(VOCABULARY))
    assert preferring.beam == 16
    assert preferring.hotwords is not None
    assert chosen_search(3, ["lamp"] * 100, SearchTools(VOCABULARY)).beam == 3


@pytest.mark.parametrize(
    ("beam", "phrases", "field", "message"),
    [
        (0, [], "beam", "from 1 to 32"),
        (33, ["lamp"], "beam", "from 1 to 32"),
        (1, ["lamp"], "beam", "2 or more"),
        (None, ["lamp"] * 101, "hotwords", "at most 100"),
        (None, ["a" * 61], "hotwords", "longer than 60"),
        (None, ["lamp", "?!"], "hotwords", "holds no word"),
        (None, ["北京"], "hotwords", "holds no word"),
    ],
)
def test_what_cannot_be_chosen(beam: int | None, phrases: list[str], field: str, message: str) -> None:
    with pytest.raises(SearchOptionError, match=message) as caught:
        chosen_search(beam, phrases, SearchTools(VOCABULARY))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("beam", "phrases", "field", "message"),
    [
        (9, [], "beam", "from 1 to 8 with the attention decoder"),
        (None, ["lamp", "?!"], "hotwords", r"'\?!' holds no word"),
        (None, ["a" * 61], "hotwords", "longer than 60"),
    ],
)
def test_what_the_decoder_cannot_follow(beam: int | None, phrases: list[str], field: str, message: str) -> None:
    pieces = Pieces((*[b""] * len(SPECIALS), *SINGLE_BYTES))
    with pytest.raises(SearchOptionError, match=message) as caught:
        chosen_search(beam, phrases, SearchTools(VOCABULARY, pieces=pieces), "attention")
    assert caught.value.field == field


def test_hotwords_make_words_right_that_were_almost(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    """Of the long words of real clips that a beam alone misses; a list of what is not said does less harm."""
    missed = found = misled = 0
    others = {word for utterance in utterances for word in long_words(utterance)}
    for utterance in utterances:
        audio, spoken = utterance.audio.read(), set(long_words(utterance))
        plain = set(words_of(recognizer.transcribe(audio, BITS, 0, ctc(recognizer, 16))))
        preferred = set(words_of(recognizer.transcribe(audio, BITS, 0, ctc(recognizer, None, spoken))))
        missed += len(spoken - plain)
        found += len((spoken - plain) & preferred) - len((spoken & plain) - preferred)
        foreign = others - set(utterance.text.split())
        others_heard = set(words_of(recognizer.transcribe(audio, BITS, 0, ctc(recognizer, None, foreign))))
        misled += len((others_heard - plain) & foreign)
    assert misled < max(found, 2)
    assert found >= 1 or missed <= 2, f"{found} of {missed} missed words"


def test_a_beam_hears_about_what_greedy_search_hears(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    """The same words at the same time, but for a few; times rise and confidence is one."""
    same = total = 0
    for utterance in utterances:
        audio = utterance.audio.read()
        greedy = [word for segment in recognizer.transcribe(audio, BITS, 0, GREEDY) for word in segment.words]
        beam = [word for s in recognizer.transcribe(audio, BITS, 0, ctc(recognizer, 8)) for word in s.words]
        times = [time for word in beam for time in (word.start_seconds, word.end_seconds)]
        assert times == sorted(times)
        assert all(0 < word.confidence <= 1 for word in beam)
        places = {(word.text, round(word.start_seconds, 2)): word.confidence for word in beam}
        alike = [word for word in greedy if (word.text, round(word.start_seconds, 2)) in places]
        for word in alike:
            assert places[word.text, round(word.start_seconds, 2)] == pytest.approx(word.confidence, abs=0.3)
        same += len(alike)
        total += len(greedy)
    assert same > 0.6 * total


def test_searches_keep_to_themselves(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    """Segments with different searches in one batch."""
    engine = recognizer.engine(BITS)
    pieces = [AudioSegment(utterance.audio.read(), 0) for utterance in utterances[:4]]
    searches = [GREEDY, *(ctc(recognizer, None, long_words(utterance)) for utterance in utterances[1:3]), Search(2)]
    together = recognizer.recognize(pieces, engine, 0, searches)
    alone = [recognizer.recognize([piece], engine, 0, [s])[0] for piece, s in zip(pieces, searches, strict=True)]
    assert together == alone


def heard(live: LiveStream, recognizer: Recognizer, audio: npt.NDArray[np.float32], packet: int) -> list[object]:
    engine = recognizer.engine(BITS)
    events: list[object] = []
    for start in range(0, len(audio), packet):
        live.push(audio[start : start + packet])
        if start + packet >= len(audio):
            live.stop()
        while live.ready:
            if live.prepare():
                engine.step([live.core])
            events += live.advance()
    return events


@pytest.mark.parametrize("pause_seconds", [0.0, 2.0])
def test_live_streams(recognizer: Recognizer, utterances: list[Utterance], pause_seconds: float) -> None:
    """Partials and finals with hotwords do not depend on packets, and nothing is lost at the end of a segment."""
    silence = np.random.default_rng(0).normal(0, 0.0005, int(pause_seconds * 16_000)).astype(np.float32)
    audio = np.concatenate([part for u in utterances[:2] for part in (u.audio.read(), silence)])
    search = ctc(recognizer, None, [word for u in utterances[:2] for word in long_words(u)])
    options = LiveOptions(search=search, endpoint_silence_seconds=0.8 if pause_seconds else 0)
    engine = recognizer.engine(BITS)
    one, other = (
        heard(LiveStream(replace(recognizer.desk(engine), voice=None), options), recognizer, audio, packet)
        for packet in (1_600, len(audio))
    )
    finals = [event for event in one if isinstance(event, Final)]
    assert finals == [event for event in other if isinstance(event, Final)]
    assert sum(isinstance(event, Partial) for event in one) >= 2
    if pause_seconds:
        assert len(finals) >= 2
    else:
        assert [final.segment for final in finals] == recognizer.recognize(
            [AudioSegment(audio, 0)], engine, 8, [search]
        )
