"""Where nobody speaks nothing is heard, in files and in streams, and speech is still heard."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from onebit_model.config import PRECISIONS, SAMPLE_RATE
from onebit_model.data.no_speech import at_level, coloured_noise, keypad, music, silence, tones
from onebit_model.data.reference import read_set
from onebit_model.recognition.live import Final, LiveOptions, LiveStream
from onebit_model.recognition.recognizer import Recognizer

Samples = npt.NDArray[np.float32]
Maker = Callable[[int, np.random.Generator], Samples]
SECONDS = 10


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


def sound(maker: Maker, seed: int) -> Samples:
    return at_level(maker(SECONDS * SAMPLE_RATE, np.random.default_rng(seed)), -25)


@pytest.mark.parametrize("maker", [keypad, tones, music, coloured_noise, silence], ids=lambda maker: maker.__name__)
@pytest.mark.parametrize("bits", PRECISIONS)
def test_sounds_without_words_give_none(recognizer: Recognizer, maker: Maker, bits: int) -> None:
    for seed in range(3):
        segments = recognizer.transcribe(sound(maker, seed), bits)
        assert [segment.text for segment in segments if segment.words] == []
        assert all(s.no_speech_probability > 0.1 or s.fallback == "no_speech" for s in segments)


def test_a_stream_of_dialled_digits_has_no_final_with_words(recognizer: Recognizer) -> None:
    desk = recognizer.desk(recognizer.engine(1))
    stream = LiveStream(desk, LiveOptions(partials=False))
    stream.push(sound(keypad, 0))
    stream.stop()
    finals = []
    while stream.ready:
        if stream.prepare():
            desk.engine.step([stream.core])
        finals += [event.segment for event in stream.advance() if isinstance(event, Final)]
    assert stream.stopped
    assert [segment.text for segment in finals if segment.words] == []


@pytest.mark.parametrize("bits", PRECISIONS)
def test_speech_beside_them_is_heard(recognizer: Recognizer, bits: int) -> None:
    clip = read_set("ljspeech")[0].audio.read()
    silent = np.zeros(2 * SAMPLE_RATE, np.float32)
    segments = recognizer.transcribe(np.concatenate([sound(keypad, 0), silent, clip]), bits)
    said = [segment for segment in segments if segment.words]
    assert said
    assert all(segment.start_seconds > SECONDS + 1 for segment in said)
    assert all(segment.no_speech_probability < 0.1 for segment in said)
