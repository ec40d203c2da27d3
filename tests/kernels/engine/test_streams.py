"""What must never change a result: packets, company, threads, a stream's past."""

import threading

import numpy as np
import pytest
from random_model import Transcribe, speech_like

from onebit_kernels import Engine, Model, Result, Stream

CHUNKS = [0, 8, 16]


def tokens_of(results: list[Result]) -> list[tuple[int, int, int, float]]:
    return [(t.id, t.frame, t.frames, t.confidence) for result in results for t in result.tokens]


def finish(engine: Engine, stream: Stream) -> list[Result]:
    stream.finish()
    results = []
    while stream.ready:
        engine.step([stream])
        results.append(stream.take())
    return results


@pytest.mark.parametrize("packet", [1, 37, 160, 641, 10_440, 1_000_000])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_any_packet_split_gives_identical_results(
    small_model: Model, transcribe: Transcribe, chunk: int, packet: int
) -> None:
    audio = speech_like(2.9 if packet > 1 else 0.9)
    engine = Engine(small_model, 1)
    whole = transcribe(engine, audio, chunk)
    stream = engine.open(chunk, keep_logits=True)
    results = []
    for start in range(0, len(audio), packet):
        stream.feed(audio[start : start + packet])
        while stream.ready:
            engine.step([stream])
            results.append(stream.take())
    results += finish(engine, stream)
    np.testing.assert_array_equal(np.concatenate([r.logits for r in results]), whole.logits)
    assert tokens_of(results) == tokens_of([whole])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_company_never_changes_a_result(isa_model: Model, transcribe: Transcribe, bits: int, exact: bool) -> None:
    """32 streams of different audio, length and chunk together, bit for bit what each gives alone."""
    engine = Engine(isa_model, bits, exact=exact)
    audio = [speech_like(0.3 + 0.11 * i, seed=i) for i in range(32)]
    chunks = [CHUNKS[i % 3] for i in range(32)]
    alone = [transcribe(engine, a, c).logits for a, c in zip(audio, chunks, strict=True)]
    streams = [engine.open(c, keep_logits=True) for c in chunks]
    for stream, samples in zip(streams, audio, strict=True):
        stream.feed(samples)
        stream.finish()
    while ready := [s for s in streams if s.ready]:
        engine.step(ready)
    for stream, expected in zip(streams, alone, strict=True):
        np.testing.assert_array_equal(stream.take().logits, expected)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_reset_starts_afresh(small_model: Model, transcribe: Transcribe, chunk: int) -> None:
    engine = Engine(small_model, 4)
    audio = speech_like(3.1)
    expected = transcribe(engine, audio, chunk)
    stream = engine.open(chunk, keep_logits=True)
    stream.feed(speech_like(4, seed=9))
    while stream.ready:
        engine.step([stream])
    stream.reset()
    assert not stream.ready
    assert not stream.done
    assert stream.buffered_samples == 0
    stream.feed(audio)
    results = finish(engine, stream)
    np.testing.assert_array_equal(np.concatenate([r.logits for r in results]), expected.logits)


def test_readiness_of_a_chunk(small_model: Model) -> None:
    """640 ms, and the half window of the last log-mel frame that its stem frames see."""
    engine = Engine(small_model, 1)
    stream = engine.open(8)
    needed = 640 * 16 + 200
    stream.feed(np.zeros(needed - 1, np.float32))
    assert not stream.ready
    stream.feed(np.zeros(1, np.float32))
    assert stream.ready
    assert stream.buffered_samples == needed
    engine.step([stream])
    assert not stream.ready
    assert stream.buffered_samples == 200
    assert stream.take().frames == 16
    stream.finish()
    assert not stream.done
    engine.step([stream])
    assert stream.done
    assert stream.take().frames == 17


def test_a_live_stream_keeps_little_more_than_a_chunk(small_model: Model) -> None:
    engine = Engine(small_model, 1)
    stream = engine.open(8)
    empty = stream.resident_bytes
    chunk = np.zeros(640 * 16, np.float32)
    stream.feed(np.zeros(200, np.float32))
    for _ in range(20):
        stream.feed(chunk)
        engine.step([stream])
        stream.take()
    assert stream.resident_bytes - empty < 1.25 * chunk.nbytes


def test_a_segment_waits_for_its_end(small_model: Model) -> None:
    engine = Engine(small_model, 1)
    stream = engine.open(0)
    stream.feed(speech_like(3))
    assert not stream.ready
    stream.finish()
    assert stream.ready
    engine.step([stream])
    assert stream.done


@pytest.mark.parametrize("chunk", CHUNKS)
def test_nothing_at_all_is_done_at_once(small_model: Model, chunk: int) -> None:
    stream = Engine(small_model, 1).open(chunk)
    stream.finish()
    assert stream.done
    assert stream.take().tokens == []


@pytest.mark.parametrize("chunk", CHUNKS)
def test_one_sample_is_one_frame(small_model: Model, transcribe: Transcribe, chunk: int) -> None:
    result = transcribe(Engine(small_model, 1), np.ones(1, np.float32), chunk)
    assert result.logits.shape == (1, 21)


def test_half_a_minute_is_the_longest_segment(small_model: Model) -> None:
    engine = Engine(small_model, 1)
    stream = engine.open(0)
    stream.feed(np.zeros(480_000, np.float32))
    with pytest.raises(ValueError, match="at most 480000 samples"):
        stream.feed(np.zeros(1, np.float32))
    stream.finish()
    engine.step([stream])
    assert stream.take().frames == 750


def test_chunked_streams_have_no_end(small_model: Model) -> None:
    engine = Engine(small_model, 1)
    stream = engine.open(16)
    for _ in range(40):
        stream.feed(np.zeros(16_000, np.float32))
        while stream.ready:
            engine.step([stream])
    assert stream.take().frames > 750


def test_a_long_backlog_is_worked_off_in_order(small_model: Model, transcribe: Transcribe) -> None:
    engine = Engine(small_model, 1)
    audio = speech_like(25)
    whole = transcribe(engine, audio, 8).logits
    stream = engine.open(8, keep_logits=True)
    for start in range(0, len(audio), 5_000):
        stream.feed(audio[start : start + 5_000])
        if start % 15_000 == 0 and stream.ready:
            engine.step([stream])
    stream.finish()
    while stream.ready:
        engine.step([stream])
    np.testing.assert_array_equal(stream.take().logits, whole)


def test_streams_move_between_equal_engines(small_model: Model, transcribe: Transcribe) -> None:
    first, second = Engine(small_model, 1), Engine(small_model, 1)
    audio = speech_like(3)
    stream = first.open(8, keep_logits=True)
    stream.feed(audio)
    stream.finish()
    engines = [first, second] * 3
    while stream.ready:
        engines.pop().step([stream])
    np.testing.assert_array_equal(stream.take().logits, transcribe(first, audio, 8).logits)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_never_change_a_result(small_model: Model, transcribe: Transcribe, threads: int) -> None:
    audio = [speech_like(7 + i, seed=i) for i in range(3)]
    one, several = Engine(small_model, 1), Engine(small_model, 1, threads=threads)
    for chunk in CHUNKS:
        streams = [several.open(chunk, keep_logits=True) for _ in audio]
        for stream, samples in zip(streams, audio, strict=True):
            stream.feed(samples)
            stream.finish()
        while ready := [s for s in streams if s.ready]:
            several.step(ready)
        for stream, samples in zip(streams, audio, strict=True):
            np.testing.assert_array_equal(stream.take().logits, transcribe(one, samples, chunk).logits)


def test_feeding_while_an_engine_computes(small_model: Model, transcribe: Transcribe) -> None:
    audio = speech_like(20)
    engine = Engine(small_model, 1)
    expected = transcribe(engine, audio, 8).logits
    stream = engine.open(8, keep_logits=True)
    stop = threading.Event()

    def step() -> None:
        while not stop.is_set() or stream.ready:
            if stream.ready:
                engine.step([stream])

    worker = threading.Thread(target=step)
    worker.start()
    for start in range(0, len(audio), 333):
        stream.feed(audio[start : start + 333])
    stream.finish()
    stop.set()
    worker.join()
    np.testing.assert_array_equal(stream.take().logits, expected)
