"""The attention decoder against the golden twin in numpy, in any company, and what it refuses."""

from __future__ import annotations

import re
from functools import cache, partial

import numpy as np
import pytest
from numpy.typing import NDArray
from random_model import WRITING, Tensors, random_tensors, speech_like
from reference_model import ReferenceModel
from reference_writing import PROMPT, Text, write

from onebit_kernels import (
    AttentionDecoder,
    CtcSpelling,
    Decoding,
    Engine,
    Model,
    Stream,
    Written,
    find_loop,
    find_repetition,
    log_mel,
)

BITS = [1, 2, 4]
# Layers of both halves, one of a stacked three, with more and with fewer planes than the precision, and the embedding.
PLANES = {
    1: {
        "decoder.blocks.0.self_attention.key": 4,
        "decoder.blocks.1.feed_forward.down": 2,
        "blocks.0.ff1.up": 4,
        "decoder.embedding": 2,
    },
    2: {
        "decoder.embedding": 1,
        "decoder.blocks.1.cross_attention.key": 4,
        "blocks.0.attention.query": 1,
        "decoder.blocks.0.feed_forward.up": 1,
    },
    4: {"decoder.blocks.0.self_attention.value": 2, "blocks.0.attention.output": 1, "decoder.embedding": 2},
}


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return random_tensors(WRITING)


@pytest.fixture(scope="module")
def model(tensors: Tensors) -> Model:
    return Model(WRITING, tensors, BITS)


PIECES = [b""] * 6 + [bytes([letter]) for letter in b" .,abcdefghijklmnopqrs"]
PIECES += [b" " + bytes([letter]) for letter in b"abcdefghijklmnopqrstu"][: 48 - len(PIECES)]
CTC_PIECES = ["\u2581", *"abcdefghijklmnopqrs"]


@pytest.fixture(scope="module")
def spelling() -> CtcSpelling:
    return CtcSpelling(PIECES, CTC_PIECES)


def encoded(engine: Engine, samples: NDArray[np.float32], chunk: int = 0) -> Stream:
    stream = engine.open(chunk, keep_encoded=True)
    stream.feed(samples)
    stream.finish()
    while stream.ready:
        engine.step([stream])
    return stream


def written(decoder: AttentionDecoder, stream: Stream, beam: int = 1) -> Written:
    decoding = decoder.open(stream, beam=beam)
    while not decoding.done:
        decoder.step([decoding])
    return decoding.written


def fields(text: Written) -> tuple[list[tuple[int, float, int, int]], float, float, float, bool]:
    pieces = [(piece.id, piece.log_probability, piece.frame, piece.frames) for piece in text.pieces]
    return pieces, text.no_speech_probability, text.mean_log_probability, text.ctc_agreement, text.loop


def check_against_the_twin(model: Model, twin: ReferenceModel, beam: int) -> None:
    """The same pieces; an int8 code here and there may round the other way."""
    allowed = 0.1
    audio = speech_like(1.6)
    engine, decoder = Engine(model, twin.bits, exact=True), AttentionDecoder(model, twin.bits, exact=True)
    frames = twin.encode(log_mel(audio))

    @cache
    def network(text: Text) -> NDArray[np.float64]:
        return twin.written([*PROMPT, *text], frames)[-1]

    expected = write(network, beam, 16 + len(frames) * 10 // 25)
    actual = written(decoder, encoded(engine, audio), beam)
    assert tuple(piece.id for piece in actual.pieces) == expected.text
    assert actual.loop == expected.looped
    rows = twin.written([*PROMPT, *expected.text], frames)[len(PROMPT) - 1 :]
    likely = [rows[i, piece] for i, piece in enumerate(expected.text)]
    np.testing.assert_allclose([piece.log_probability for piece in actual.pieces], likely, atol=allowed)
    assert actual.mean_log_probability == pytest.approx(expected.mean, abs=allowed)
    assert actual.no_speech_probability == pytest.approx(np.exp(network(())[4]), rel=allowed)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("bits", BITS)
def test_exact_mode_equals_the_twin(isa: str, tensors: Tensors, bits: int, beam: int) -> None:
    twin = ReferenceModel(WRITING, tensors, bits)
    check_against_the_twin(Model(WRITING, tensors, [bits], isa), twin, beam)


@pytest.mark.parametrize("bits", BITS)
def test_planes_are_those_of_the_allocation(isa: str, tensors: Tensors, bits: int) -> None:
    twin = ReferenceModel(WRITING, tensors, bits, PLANES[bits])
    model = Model(WRITING, tensors, [bits], isa, PLANES)
    check_against_the_twin(model, twin, 1)
    other = Model(WRITING, tensors, [bits], isa)
    texts = [written(AttentionDecoder(m, bits), encoded(Engine(m, bits), speech_like(1.6))) for m in (model, other)]
    assert fields(texts[0]) != fields(texts[1])


@pytest.mark.parametrize("bits", [1, 4])
def test_the_embedding_may_have_fewer_planes(isa: str, tensors: Tensors, bits: int) -> None:
    """At one precision, while the others of the same model keep all four."""
    planes = {1: {"decoder.embedding": 2}}
    model = Model(WRITING, tensors, BITS, isa, planes)
    check_against_the_twin(model, ReferenceModel(WRITING, tensors, bits, planes.get(bits)), 3)


def test_an_embedding_of_fewer_planes_takes_less_memory(tensors: Tensors) -> None:
    """And needs no tensors of the planes and scales that it does not use."""
    planes = {1: {"decoder.embedding": 2}}
    fewer = tensors | {"decoder.embedding.planes": tensors["decoder.embedding.planes"][:2]}
    del fewer["decoder.embedding.scale1"], fewer["decoder.embedding.scale4"]
    model = Model(WRITING, fewer, [1], planes=planes)
    assert model.resident_bytes < Model(WRITING, tensors, [1]).resident_bytes
    with pytest.raises(ValueError, match="decoder.embedding"):
        Model(WRITING, fewer, [1, 4], planes=planes)


@pytest.mark.parametrize("bits", BITS)
def test_the_fast_mode_stays_close(isa: str, tensors: Tensors, bits: int) -> None:
    model = Model(WRITING, tensors, [bits], isa)
    for seed in range(4):
        exact, fast = (
            written(AttentionDecoder(model, bits, mode), encoded(Engine(model, bits, mode), speech_like(1.2, seed)))
            for mode in (True, False)
        )
        assert fast.no_speech_probability == pytest.approx(exact.no_speech_probability, rel=0.2)


@pytest.mark.parametrize("bits", BITS)
def test_company_changes_nothing(model: Model, spelling: CtcSpelling, bits: int) -> None:
    """Segments of other lengths and beams, opened while others are on their way, more rows than fit a step."""
    engine, decoder = Engine(model, bits), AttentionDecoder(model, bits, spelling=spelling)
    streams = [encoded(engine, speech_like(seconds, seed)) for seed, seconds in enumerate((1.0, 2.3, 3.1, 0.4, 5.0))]
    orders = [(stream, beam) for beam in (1, 8, 4) for stream in streams]
    alone = [fields(written(decoder, stream, beam)) for stream, beam in orders]
    waiting = [partial(decoder.open, stream, beam=beam) for stream, beam in orders]
    opened: list[Decoding] = []
    while waiting or not all(decoding.done for decoding in opened):
        opened += [open_next() for open_next in waiting[:2]]
        del waiting[:2]
        decoder.step([decoding for decoding in opened if not decoding.done][::-1], max_milliseconds=0)
    assert [fields(decoding.written) for decoding in opened] == alone


@pytest.mark.parametrize("seconds", [2, 3, 4, 5])
def test_ctc_is_asked_for_its_opinion(model: Model, spelling: CtcSpelling, seconds: int) -> None:
    """Of the text that was written, on the head's scores of the same frames."""
    engine, decoder = Engine(model, 2, exact=True), AttentionDecoder(model, 2, exact=True, spelling=spelling)
    stream = engine.open(0, keep_logits=True, keep_encoded=True)
    stream.feed(speech_like(seconds))
    stream.finish()
    engine.step([stream])
    scores = stream.take().logits
    assert scores is not None
    segments = [decoder.open(stream, timing="attention"), decoder.open(stream, timing="ctc")]
    decoder.step(segments, max_milliseconds=60_000)
    by_attention, by_ctc = (segment.written for segment in segments)
    pieces = [piece.id for piece in by_ctc.pieces]
    assert [piece.id for piece in by_attention.pieces] == pieces
    times, best, _ = spelling.align(scores, pieces)
    words = "".join(PIECES[piece].decode() for piece in pieces)
    letters = len(re.sub(r"[ .,]", "", re.sub(r"\w*[tu]\w*", "*", words)))  # no letters of CTC: a wildcard
    assert by_ctc.ctc_agreement == pytest.approx((best - scores.max(axis=1).sum()) / letters, rel=1e-4)
    assert by_attention.ctc_agreement == by_ctc.ctc_agreement
    found = [(piece.frame, piece.frame + piece.frames) for piece in by_ctc.pieces]
    assert [frame for frame, _ in found] == sorted(frame for frame, _ in found)
    assert all(begin <= end <= len(scores) for begin, end in found)
    by_weights = [(piece.frame, piece.frame + piece.frames) for piece in by_attention.pieces]
    assert np.isfinite(best) == (found != by_weights)
    if np.isfinite(best):  # a piece is heard a frame before CTC is sure of it, and two frames longer, if there is room
        spoken = [(f, t) for f, t in zip(found, times, strict=True) if t[0] < t[1]]
        assert all(t[0] - 1 <= f[0] <= t[0] and t[1] <= f[1] <= t[1] + 2 for f, t in spoken)


def test_ctc_chooses_between_texts(model: Model, spelling: CtcSpelling) -> None:
    """With its whole weight, the text that it finds likeliest of those that ended."""
    engine, decoder = Engine(model, 2), AttentionDecoder(model, 2, spelling=spelling)
    different = 0
    for seed in range(3):
        stream = encoded(engine, speech_like(4, seed))
        texts = []
        for weight in (0.0, 1.0):
            decoding = decoder.open(stream, beam=8, ctc_weight=weight)
            decoder.step([decoding], max_milliseconds=60_000)
            texts.append(decoding.written)
        different += [p.id for p in texts[0].pieces] != [p.id for p in texts[1].pieces]
        assert texts[1].mean_log_probability <= texts[0].mean_log_probability + 1e-6
    assert different > 0


def scripted(tensors: Tensors, script: list[int]) -> Tensors:
    """A decoder that hears nothing and writes a piece for every place of its text."""
    changed = dict(tensors)
    for name in tensors:
        if re.match(r"decoder\.blocks.*(output|down)\.(scale|bias)", name):
            changed[name] = np.zeros_like(tensors[name])
    planes = np.unpackbits(tensors["decoder.embedding.planes"], axis=2, bitorder="little").astype(np.float32)
    table = np.tensordot([8, 4, 2, 1], planes, 1) - 7.5
    positions = np.zeros((WRITING["decoder_positions"], WRITING["d_model"]), np.float16)
    positions[len(PROMPT) - 1 :][: len(script) + 1] = 8 * table[[*script, 0]]
    positions[len(PROMPT) + len(script) :] = 8 * table[0]
    return changed | {"decoder.positions": positions}


SAID_TWICE = [9, 22, 12, 14, 22, 12, 14, 25]


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize(
    ("script", "is_loop"),
    [(SAID_TWICE, False), ([9, 22, 12, 14, *[22, 12, 14] * 6, 25], True), ([*range(8, 24)], False)],
)
def test_what_ctc_heard_once_is_written_once(
    tensors: Tensors, spelling: CtcSpelling, script: list[int], beam: int, is_loop: bool
) -> None:
    """What it heard twice stays. A text in circles goes on from where it was first said, whatever CTC thinks."""
    model = Model(WRITING, scripted(tensors, script), BITS)
    engine = Engine(model, 4, exact=True)
    rewritten = set()
    for seed in range(20):
        stream = engine.open(0, keep_logits=True, keep_encoded=True)
        stream.feed(speech_like(2 + 0.2 * seed, seed))
        stream.finish()
        engine.step([stream])
        alone, asking = (AttentionDecoder(model, 4, True, spelling=asked) for asked in (None, spelling))
        before, after = ([piece.id for piece in written(d, stream, beam).pieces] for d in (alone, asking))
        repetition = find_loop(before) or find_repetition(before)
        if repetition is None:
            assert after == before
            continue
        assert before[: len(SAID_TWICE) - 1] == SAID_TWICE[:-1]
        scores = stream.take().logits
        assert scores is not None
        once = before[:4] + before[7:]
        is_likelier = spelling.align(scores, once)[2] > spelling.align(scores, before)[2]
        assert (after != before) == (is_loop or is_likelier)
        if after != before:
            assert after[:4] == before[:4]
            assert after[4] != before[4]
        rewritten.add(after != before)
    assert rewritten == ({True} if is_loop else {False, True} if script == SAID_TWICE else set())


def test_segments_move_between_decoders(model: Model) -> None:
    stream = encoded(Engine(model, 2), speech_like(2))
    decoders = [AttentionDecoder(model, 2) for _ in range(2)]
    expected = fields(written(decoders[0], stream))
    decoding = decoders[0].open(stream)
    steps = 0
    while not decoding.done:
        decoders[steps % 2].step([decoding], max_milliseconds=0)
        steps += 1
    assert steps > 5
    assert fields(decoding.written) == expected


def test_a_segment_may_end_within_what_the_stream_keeps(model: Model) -> None:
    """And the stream goes on, as if nothing had happened."""
    engine, decoder = Engine(model, 4), AttentionDecoder(model, 4)
    stream = engine.open(8, keep_encoded=True)
    stream.feed(speech_like(3))
    engine.step([stream])
    assert stream.encoded_frames == 16
    first = decoder.open(stream, frames=9)
    assert first.frames == 9
    engine.step([stream])
    assert stream.encoded_frames == 32
    stream.reset()
    assert stream.encoded_frames == 0
    while not first.done:
        decoder.step([first])
    pieces = first.written.pieces
    assert all(0 <= piece.frame <= piece.frame + piece.frames <= 9 for piece in pieces)
    assert [piece.frame for piece in pieces] == sorted(piece.frame for piece in pieces)


def test_a_stream_keeps_thirty_seconds(model: Model) -> None:
    stream = encoded(Engine(model, 1), speech_like(31.5), chunk=16)
    assert stream.encoded_frames == 750


def test_chunks_keep_what_the_chunked_network_says(model: Model, tensors: Tensors) -> None:
    audio = speech_like(2.9)
    whole, chunked = (
        written(AttentionDecoder(model, 4, True), encoded(Engine(model, 4, True), audio, chunk)) for chunk in (0, 8)
    )
    twin = ReferenceModel(WRITING, tensors, 4)
    for text, chunk in ((whole, 0), (chunked, 8)):
        expected = twin.written([*PROMPT], twin.encode(log_mel(audio), chunk))[-1]
        assert text.no_speech_probability == pytest.approx(np.exp(expected[4]), rel=1e-3)


def test_a_segment_without_frames_is_done(model: Model) -> None:
    stream = Engine(model, 1).open(8, keep_encoded=True)
    decoding = AttentionDecoder(model, 1).open(stream)
    assert decoding.done
    assert decoding.written.pieces == []
    assert decoding.written.no_speech_probability == 1


def test_a_step_may_be_as_short_as_wanted(model: Model) -> None:
    stream = encoded(Engine(model, 1), speech_like(4))
    decoder = AttentionDecoder(model, 1)
    decoding = decoder.open(stream)
    decoder.step([decoding], max_milliseconds=0)
    assert not decoding.done
    decoder.step([decoding], max_milliseconds=60_000)
    assert decoding.done


def test_what_a_decoder_refuses(model: Model, small_model: Model) -> None:
    engine, decoder = Engine(model, 1), AttentionDecoder(model, 1)
    stream = encoded(engine, speech_like(1))
    with pytest.raises(ValueError, match="no attention decoder"):
        AttentionDecoder(small_model, 1)
    with pytest.raises(ValueError, match="no head 2 in block 0"):
        AttentionDecoder(model, 1, alignment_heads=[(0, 2)])
    with pytest.raises(ValueError, match="keep_encoded"):
        decoder.open(engine.open(0))
    with pytest.raises(ValueError, match="precision or mode"):
        AttentionDecoder(model, 2).open(stream)
    with pytest.raises(ValueError, match="has a spelling"):
        decoder.open(stream, timing="ctc")
    with pytest.raises(ValueError, match="has a spelling"):
        decoder.open(stream, ctc_weight=0.3)
    with pytest.raises(ValueError, match="other vocabularies"):
        AttentionDecoder(model, 1, spelling=CtcSpelling(PIECES[:-1], CTC_PIECES))
    with pytest.raises(ValueError, match="beam 9"):
        decoder.open(stream, beam=9)
    decoding = decoder.open(stream)
    with pytest.raises(RuntimeError, match="not written yet"):
        assert decoding.written
    with pytest.raises(ValueError, match="twice"):
        decoder.step([decoding, decoding])
    with pytest.raises(ValueError, match="precision or mode"):
        AttentionDecoder(model, 1, exact=True).step([decoding])
    with pytest.raises(ValueError, match="max_milliseconds"):
        decoder.step([decoding], max_milliseconds=-1)
    while not decoding.done:
        decoder.step([decoding])
    with pytest.raises(ValueError, match="done"):
        decoder.step([decoding])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_blocks": 0}, "decoder_feed_forward is needed"),
        ({"decoder_positions": 4}, "decoder_positions is less than 8"),
        ({"decoder_vocabulary_size": 50}, "not a multiple of 16"),
        ({"decoder_feed_forward": 112}, "decoder.blocks.0.feed_forward.up.planes is uint8"),
    ],
)
def test_sizes_that_do_not_fit(tensors: Tensors, change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model(WRITING | change, tensors, BITS)


@pytest.mark.parametrize(
    ("planes", "message"),
    [({1: {"decoder.blocks.0.feed_forward.up": 3}}, "cannot have 3"), ({1: {"nowhere": 2}}, "no layer nowhere")],
)
def test_planes_that_do_not_fit(tensors: Tensors, planes: dict[int, dict[str, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model(WRITING, tensors, BITS, planes=planes)
