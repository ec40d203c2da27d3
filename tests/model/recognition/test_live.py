"""Streams on the real engine: segments, endpoints, and that packets decide nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from onebit_model.data.reference import read_set
from onebit_model.recognition.live import AudioTail, Event, Final, LiveOptions, LiveStream, Partial
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.voice import SileroVoice

Samples = npt.NDArray[np.float32]
RATE = 16_000
BITS = 4


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


@pytest.fixture(scope="module")
def sentences() -> list[Samples]:
    return [u.audio.read() for u in read_set("librispeech-other") if 2 < u.duration_seconds < 8][:4]


def pause(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0, 0.0005, int(seconds * RATE)).astype(np.float32)


class Deaf:
    """A voice detector with one answer."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.questions = 0

    def hears_speech(self, samples: Samples) -> bool:
        self.questions += 1
        return self.answer

    def finds_speech(self, samples: Samples) -> bool:
        return self.answer


def heard(live: LiveStream, recognizer: Recognizer, packets: Sequence[Samples | str]) -> list[Event]:
    engine = recognizer.engine(BITS)
    events: list[Event] = []
    for packet in packets:
        if isinstance(packet, str):
            getattr(live, packet)()
        else:
            live.push(packet)
        while live.ready:
            if live.prepare():
                engine.step([live.core])
            events += live.advance()
    return events


def stream(recognizer: Recognizer, voice: Deaf | SileroVoice | None = None, **options: object) -> LiveStream:
    desk = replace(recognizer.desk(recognizer.engine(BITS)), voice=voice)
    return LiveStream(desk, LiveOptions(**options))  # type: ignore[arg-type]


def finals_of(events: Sequence[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def cut(audio: Samples, size: int) -> list[Samples]:
    return [audio[start : start + size] for start in range(0, len(audio), size)]


@pytest.mark.parametrize("level", [1.0, 0.01])
def test_packets_decide_nothing(recognizer: Recognizer, sentences: list[Samples], level: float) -> None:
    audio = np.concatenate([part for sentence in sentences for part in (sentence, pause(1.3))]) * np.float32(level)
    results = [
        heard(stream(recognizer, SileroVoice()), recognizer, [*cut(audio, size), "stop"])
        for size in (37, 1600, 10_240, len(audio))
    ]
    assert len(finals_of(results[0])) >= len(sentences)
    for result in results[1:]:
        assert finals_of(result) == finals_of(results[0])


@pytest.mark.parametrize("level", [0.01, 0.006])
def test_quiet_speech_is_heard_in_streams_as_in_files(
    recognizer: Recognizer, sentences: list[Samples], level: float
) -> None:
    """40 and 45 dB below what was recorded: without levelling hardly a word is left."""
    quiet = [sentence * np.float32(level) for sentence in sentences]
    for sentence, usual in zip(quiet, sentences, strict=True):
        live = heard(stream(recognizer, SileroVoice()), recognizer, [*cut(sentence, 1600), "stop"])
        texts = [
            " ".join(event.segment.text for event in finals_of(live)),
            " ".join(segment.text for segment in recognizer.transcribe(sentence, 4, 8)),
        ]
        expected = len(" ".join(segment.text for segment in recognizer.transcribe(usual, 4, 8)).split())
        for text in texts:
            assert len(text.split()) >= 0.7 * expected


def test_a_pause_ends_a_segment(recognizer: Recognizer, sentences: list[Samples]) -> None:
    audio = np.concatenate([sentences[0], pause(2), sentences[1], pause(0.3)])
    first, second, *rest = finals_of(heard(stream(recognizer, SileroVoice()), recognizer, [audio, "stop"]))
    assert (first.number, first.reason) == (0, "silence")
    assert second.number == 1
    assert [second, *rest][-1].reason == "stop"
    seconds = len(sentences[0]) / RATE
    assert 0 <= first.segment.start_seconds < first.segment.end_seconds <= seconds + 0.1
    assert seconds + 1.5 < second.segment.start_seconds < second.segment.end_seconds <= len(audio) / RATE


def test_a_voice_holds_the_end_back_but_not_for_ever(recognizer: Recognizer, sentences: list[Samples]) -> None:
    def first_final(answer: bool) -> tuple[float, Deaf]:
        voice = Deaf(answer)
        live = stream(recognizer, voice)
        live.push(sentences[0])
        seconds = 0.0
        engine = recognizer.engine(BITS)
        while seconds < 10:
            live.push(pause(0.1))
            seconds += 0.1
            while live.ready:
                if live.prepare():
                    engine.step([live.core])
                if finals_of(live.advance()):
                    return seconds, voice
        raise AssertionError("no endpoint")

    quiet_seconds, quiet = first_final(False)
    voiced_seconds, voiced = first_final(True)
    assert quiet.questions == 1
    assert voiced.questions > 1
    assert quiet_seconds < 2.2
    assert quiet_seconds + 0.6 < voiced_seconds < 4.5


def test_silence_alone_says_nothing_and_keeps_nothing(recognizer: Recognizer) -> None:
    live = stream(recognizer)
    events = heard(live, recognizer, [*cut(pause(45), 1600), "stop"])
    assert [final.segment.text for final in finals_of(events)] in ([], [""])
    assert live.kept_seconds < 10


def test_no_more_audio_is_kept_than_is_looked_at_again(recognizer: Recognizer, sentences: list[Samples]) -> None:
    speech = np.concatenate(sentences * 3)[: 29 * RATE]
    live = stream(recognizer, endpoint_silence_seconds=0)
    engine = recognizer.engine(BITS)
    kept = []
    pushed_seconds = 0.0
    for packet in cut(speech, 1600):
        live.push(packet)
        pushed_seconds += len(packet) / RATE
        while live.ready:
            if live.prepare():
                engine.step([live.core])
            live.advance()
            kept.append((pushed_seconds - live.backlog_seconds, live.kept_seconds))
    assert max(seconds for at, seconds in kept if at < 25) < 1.3
    assert kept[-1][1] > 3


def test_finalize_and_stop(recognizer: Recognizer, sentences: list[Samples]) -> None:
    live = stream(recognizer, partials=False)
    events = heard(live, recognizer, ["finalize", sentences[0], "finalize", "finalize", sentences[1], "stop"])
    finals = finals_of(events)
    assert events == list(finals)
    assert [final.reason for final in finals] == ["finalize"] * 3 + ["stop"]
    assert [final.number for final in finals] == [0, 1, 2, 3]
    assert [bool(final.segment.words) for final in finals] == [False, True, False, True]
    assert live.stopped
    assert not live.ready


def test_partials_grow_and_do_not_repeat(recognizer: Recognizer, sentences: list[Samples]) -> None:
    events = heard(stream(recognizer), recognizer, [*cut(sentences[0], 800), "stop"])
    texts = [event.segment.text for event in events if isinstance(event, Partial)]
    assert len(texts) >= 2
    assert all(texts)
    assert all(one != other for one, other in itertools.pairwise(texts))


@pytest.mark.parametrize("chunk", [8, 16])
def test_long_speech_is_cut_at_the_quietest_place(recognizer: Recognizer, sentences: list[Samples], chunk: int) -> None:
    speech = np.concatenate(sentences * 4)[: 40 * RATE].copy()
    speech[27 * RATE : 27 * RATE + RATE // 4] = 0
    live = stream(recognizer, chunk=chunk, endpoint_silence_seconds=0)
    first, second = finals_of(heard(live, recognizer, [*cut(speech, 1600), "stop"]))
    assert (first.reason, second.reason) == ("max_segment", "stop")
    assert first.segment.end_seconds <= 27.2
    assert second.segment.start_seconds >= 27.0


def test_who_never_pauses_gets_finals_all_the_same(recognizer: Recognizer, sentences: list[Samples]) -> None:
    """Every 12 s at the latest, cut where it is quietest, and nothing is said twice."""
    speech = np.concatenate([sentence[RATE // 2 : -RATE // 2] for sentence in sentences * 3])[: 40 * RATE].copy()
    speech[10 * RATE : 10 * RATE + RATE // 4] = 0
    heard_before = {}
    for packet_samples in (1600, 12_345):
        live = stream(recognizer, Deaf(True))
        finals = finals_of(heard(live, recognizer, [*cut(speech, packet_samples), "stop"]))
        heard_before[packet_samples] = finals
    assert heard_before[1600] == heard_before[12_345]
    assert [final.reason for final in finals[:-1]] == ["max_segment"] * (len(finals) - 1)
    assert finals[1].segment.start_seconds >= 10.0
    assert finals[0].segment.end_seconds <= 10.3
    starts = [final.segment.start_seconds for final in finals]
    assert all(later - earlier <= 12 for earlier, later in itertools.pairwise(starts))
    assert all(final.segment.end_seconds - final.segment.start_seconds <= 12 for final in finals)
    ends = [word.start_seconds for final in finals for word in final.segment.words]
    assert ends == sorted(ends)


def test_what_was_said_before_changes_nothing(recognizer: Recognizer, sentences: list[Samples]) -> None:
    """State starts afresh after a final."""
    alone = finals_of(heard(stream(recognizer), recognizer, [sentences[1], "stop"]))[0]
    after = finals_of(heard(stream(recognizer), recognizer, [sentences[0], "finalize", sentences[1], "stop"]))[1]
    assert after.segment.text == alone.segment.text


def test_backlog(recognizer: Recognizer) -> None:
    live = stream(recognizer)
    live.push(pause(3))
    assert live.backlog_seconds == 3
    heard(live, recognizer, [pause(0.01)])
    assert live.backlog_seconds < 1


def test_audio_tail() -> None:
    tail = AudioTail()
    for start in range(0, 100, 10):
        tail.append(np.arange(start, start + 10, dtype=np.float32))
    np.testing.assert_array_equal(tail.between(35, 62), np.arange(35, 62))
    tail.drop_before(47)
    assert tail.start == 40
    np.testing.assert_array_equal(tail.between(47, 100), np.arange(47, 100))
    assert len(tail.between(100, 100)) == 0


def test_files_of_any_length(recognizer: Recognizer, sentences: list[Samples]) -> None:
    audio = np.concatenate([*sentences, *sentences, *sentences])
    assert len(audio) > 45 * RATE
    segments = recognizer.transcribe(audio, BITS)
    assert len(segments) >= 2
    in_blocks = list(recognizer.transcribe_blocks(cut(audio, 5000), recognizer.engine(BITS)))
    assert in_blocks == segments
    times = [time for segment in segments for word in segment.words for time in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert times[-1] <= len(audio) / RATE


def test_company_changes_nothing(recognizer: Recognizer, sentences: list[Samples]) -> None:
    from onebit_model.recognition.segmentation import AudioSegment

    engine = recognizer.engine(BITS)
    pieces = [AudioSegment(sentence, 0) for sentence in [*sentences, pause(1) * 0]]
    together = recognizer.recognize(pieces, engine)
    assert together == [recognizer.recognize([piece], engine)[0] for piece in pieces]
    assert together[-1].words == ()
