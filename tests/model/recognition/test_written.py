"""Written text, from the engine to segments: files and streams, in any company, in slices of any length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scripted_model import pieces_of, write_ctc_model, write_scripted_model

from onebit_kernels import Engine
from onebit_model.config import WHOLE_SEGMENT
from onebit_model.data.reference import read_set
from onebit_model.errors import SearchOptionError
from onebit_model.recognition.live import Event, Final, LiveOptions, LiveStream, Partial
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segment_batch import SegmentBatch
from onebit_model.recognition.segmentation import AudioSegment

Samples = npt.NDArray[np.float32]
TEXT = "Hello, Mr. Smith: it is 5 - a caf\u00e9."
WORDS = ["Hello,", "Mr.", "Smith:", "it", "is", "5 -", "a", "caf\u00e9."]
RATE = 16_000


def scripted(folder: Path, text: str = TEXT, *, deaf: bool = False, no_speech: bool = False) -> Recognizer:
    path = folder / f"{len(list(folder.iterdir()))}.onebit.safetensors"
    write_scripted_model(path, text, deaf=deaf, no_speech=no_speech)
    return Recognizer.load(path, language_model="none")


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return scripted(tmp_path_factory.mktemp("scripted"))


@pytest.fixture(scope="module")
def sentences() -> list[Samples]:
    return [u.audio.read() for u in read_set("librispeech-other") if 2 < u.duration_seconds < 8][:3]


def noise(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_file_is_written(recognizer: Recognizer, sentences: list[Samples], bits: int) -> None:
    (segment,) = recognizer.transcribe(sentences[0], bits)
    assert [word.text for word in segment.words] == WORDS
    assert segment.text == TEXT
    assert segment.fallback is None
    assert segment.no_speech_probability < 0.01
    assert segment.pieces == len(pieces_of(TEXT))
    times = [time for word in segment.words for time in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert times[-1] <= len(sentences[0]) / RATE
    # As the file's calibration has it: at 4 bit four of five such words are right.
    certain = {1: 1.0, 2: 1.0, 4: 0.8}[bits]
    assert all(certain - 0.01 < word.confidence <= certain for word in segment.words)


def test_who_answers_can_be_chosen(recognizer: Recognizer, sentences: list[Samples]) -> None:
    assert recognizer.search().written is not None
    assert recognizer.search(decoder="ctc").written is None
    (heard,) = recognizer.transcribe(sentences[0], 4, WHOLE_SEGMENT, recognizer.search(decoder="ctc"))
    assert heard.words
    assert heard.text == heard.text.lower() != TEXT
    assert heard.pieces == 0
    for beam in (2, 8):
        (segment,) = recognizer.transcribe(sentences[0], 4, WHOLE_SEGMENT, recognizer.search(beam))
        assert segment.text == TEXT


def test_a_model_without_a_decoder_says_so(tmp_path: Path) -> None:
    write_ctc_model(tmp_path / "model")
    recognizer = Recognizer.load(tmp_path / "model", language_model="none")
    assert recognizer.search().written is None
    with pytest.raises(SearchOptionError, match="no attention decoder") as caught:
        recognizer.search(decoder="attention")
    assert caught.value.field == "decoder"


@pytest.mark.parametrize(
    ("beam", "phrases", "field", "message"),
    [
        (0, [], "beam", "from 1 to 8"),
        (9, [], "beam", "from 1 to 8"),
        (None, ["?!"], "hotwords", "holds no word"),
        (None, ["a" * 61], "hotwords", "longer than 60"),
        (None, ["lamp"] * 101, "hotwords", "at most 100"),
    ],
)
def test_what_cannot_be_chosen(
    recognizer: Recognizer, beam: int | None, phrases: list[str], field: str, message: str
) -> None:
    with pytest.raises(SearchOptionError, match=message) as caught:
        recognizer.search(beam, phrases)
    assert caught.value.field == field


def test_hotwords_of_written_text_may_have_digits_capitals_and_accents(
    recognizer: Recognizer, sentences: list[Samples]
) -> None:
    search = recognizer.search(2, ["Room 5", "caf\u00e9", "smith"])
    assert search.written is not None
    assert search.written.hotwords is not None
    assert recognizer.transcribe(sentences[0], 4, WHOLE_SEGMENT, search)[0].text == TEXT


def test_nothing_is_made_up(tmp_path: Path, sentences: list[Samples]) -> None:
    """The decoder writes fluently over noise; it is not believed where the CTC head hears nothing, nor a voice."""
    deaf = scripted(tmp_path, deaf=True)
    (segment,) = deaf.transcribe(noise(4), 4)
    assert (segment.words, segment.fallback) == ((), "no_speech")
    assert (segment.start_seconds, segment.end_seconds) == (0, 4)
    # A voice, which the detector hears, speaks for the decoder.
    assert deaf.transcribe(sentences[0], 4)[0].text == TEXT
    nobody = scripted(tmp_path, no_speech=True)
    (segment,) = nobody.transcribe(sentences[0], 4)
    assert (segment.words, segment.fallback) == ((), None)
    assert segment.no_speech_probability > 0.9


def test_silence_needs_no_decoder(recognizer: Recognizer) -> None:
    (segment,) = recognizer.transcribe(np.zeros(4 * RATE, np.float32), 4)
    assert segment.words == ()
    assert segment.no_speech_probability == 1


@pytest.mark.parametrize(
    ("text", "reason"), [("it is " * 40, "loop"), (" ".join(f"{n * n}" for n in range(40)), "too_long")]
)
def test_texts_without_an_end_give_way_to_the_ctc(
    text: str, reason: str, tmp_path: Path, sentences: list[Samples]
) -> None:
    recognizer = scripted(tmp_path, text)
    (segment,) = recognizer.transcribe(sentences[0][: 2 * RATE], 4)
    (heard,) = recognizer.transcribe(sentences[0][: 2 * RATE], 4, WHOLE_SEGMENT, recognizer.search(decoder="ctc"))
    assert segment.fallback == reason
    assert segment.words == heard.words


@pytest.mark.parametrize("max_milliseconds", [0.0, 1.0, 1e9])
def test_company_and_slices_change_nothing(
    recognizer: Recognizer, sentences: list[Samples], max_milliseconds: float
) -> None:
    alone = [recognizer.transcribe(sentence, 2)[0] for sentence in sentences]
    desk = recognizer.desk(recognizer.engine(2))
    other = recognizer.desk(recognizer.engine(2))
    searches = [recognizer.search(), recognizer.search(3), recognizer.search(decoder="ctc")]
    items = [(AudioSegment(sentence, 0), search) for sentence, search in zip(sentences, searches, strict=True)]
    batch = SegmentBatch(desk, WHOLE_SEGMENT, items)
    steps = 0
    while not batch.done:
        batch.step(desk if steps % 2 else other, max_milliseconds)
        steps += 1
    together = batch.segments()
    assert [s.text for s in together[:2]] == [s.text for s in alone[:2]]
    assert together[0] == alone[0]
    assert together[2].pieces == 0
    assert steps > 20 or max_milliseconds


def heard(live: LiveStream, recognizer: Recognizer, engine: Engine, packets: Sequence[Samples | str]) -> list[Event]:
    desk = recognizer.desk(engine)
    assert desk.decoder is not None
    events: list[Event] = []
    for packet in packets:
        if isinstance(packet, str):
            getattr(live, packet)()
        else:
            live.push(packet)
        while live.ready:
            if live.prepare():
                engine.step([live.core])
            if live.decoding is not None:
                desk.decoder.step([live.decoding], 0.5)
            events += live.advance()
    return events


def packets_of(audio: Samples, size: int) -> list[Samples]:
    return [audio[start : start + size] for start in range(0, len(audio), size)]


def finals_of(events: Sequence[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


@pytest.mark.parametrize("second_pass", [False, True])
def test_finals_are_written_and_partials_are_heard(
    recognizer: Recognizer, sentences: list[Samples], second_pass: bool
) -> None:
    audio = np.concatenate([sentences[0], sentences[1]])
    results = []
    for size in (1000, 25_600, len(audio)):
        engine = recognizer.engine(1)
        options = LiveOptions(search=recognizer.search(), second_pass=second_pass)
        live = LiveStream(recognizer.desk(engine), options)
        first, second = packets_of(audio[:60_000], size), packets_of(audio[60_000:], size)
        events = heard(live, recognizer, engine, [*first, "finalize", *second, "stop"])
        assert live.stopped
        assert not live.ready
        finals = finals_of(events)
        assert [(final.number, final.segment.text, final.reason) for final in finals] == [
            (0, TEXT, "finalize"),
            (1, TEXT, "stop"),
        ]
        assert finals[0].segment.end_seconds <= 60_000 / RATE <= finals[1].segment.start_seconds + 1e-9
        assert any(isinstance(event, Partial) and event.segment.text.islower() for event in events)
        results.append([final.segment for final in finals])
    assert results[0] == results[1] == results[2]


def test_a_stream_may_ask_for_what_the_ctc_hears(recognizer: Recognizer, sentences: list[Samples]) -> None:
    engine = recognizer.engine(1)
    live = LiveStream(recognizer.desk(engine), LiveOptions(search=recognizer.search(decoder="ctc")))
    (final,) = finals_of(heard(live, recognizer, engine, [sentences[0], "stop"]))
    assert final.segment.text
    assert final.segment.text != TEXT


def test_a_segment_of_30_seconds_is_cut_and_written(recognizer: Recognizer) -> None:
    engine = recognizer.engine(1)
    live = LiveStream(recognizer.desk(engine), LiveOptions(search=recognizer.search(), endpoint_silence_seconds=0))
    speech = np.concatenate([u.audio.read() for u in read_set("librispeech-other")[:8]])[: 40 * RATE]
    finals = finals_of(heard(live, recognizer, engine, [*packets_of(speech, 5000), "stop"]))
    assert [final.reason for final in finals] == ["max_segment", "stop"]
    assert all(final.segment.text == TEXT for final in finals)


def test_nothing_is_made_up_live(tmp_path: Path) -> None:
    deaf = scripted(tmp_path, deaf=True)
    engine = deaf.engine(1)
    live = LiveStream(deaf.desk(engine), LiveOptions(search=deaf.search()))
    finals = finals_of(heard(live, deaf, engine, [noise(3), "stop"]))
    assert [final.segment.words for final in finals] == [()]
    assert finals[0].segment.fallback == "no_speech"
