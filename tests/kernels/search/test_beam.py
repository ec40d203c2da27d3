"""The beam search and its hotwords: against their definitions, and what a user expects of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from random_model import Transcribe, speech_like
from random_posteriors import PHRASES, PIECES, Matrix, fields, posteriors, search
from reference_search import Boost, beam_search

from onebit_kernels import Engine, Hotwords, Model
from onebit_kernels._core import BeamSearch, Token


def spelled(text: str, alternatives: dict[int, tuple[str, float]]) -> Matrix:
    """Certain posteriors of one-letter pieces, but for given letters a rival with this probability."""
    letters = [letter for letter in "".join(text) for _ in (0, 1)]
    rows = np.full((len(letters), 28), 1e-7)
    for t, letter in enumerate(letters):
        rows[t, 0 if t % 2 else number(letter)] = 1
        if t % 2 == 0 and t // 2 in alternatives:
            rival, probability = alternatives[t // 2]
            rows[t, number(letter)], rows[t, number(rival)] = 1 - probability, probability
    return np.log(rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


LETTERS = ("\u2581", *"abcdefghijklmnopqrstuvwxyz")


def number(letter: str) -> int:
    return LETTERS.index(letter.replace(" ", "\u2581")) + 1


def text_of(tokens: list[Token], pieces: tuple[str, ...] = LETTERS) -> str:
    return "".join(pieces[token.id - 1] for token in tokens).replace("\u2581", " ").strip()


@pytest.mark.parametrize("width", [2, 8, 32])
@pytest.mark.parametrize("seed", range(6))
def test_the_search_is_that_of_its_definition(width: int, seed: int) -> None:
    rows = posteriors(50, [6, 30, 257][seed % 3], seed, [1.5, 3.0][seed % 2])
    prefix, alignment = beam_search(rows, width)
    tokens = search(rows, width)
    assert tuple(token.id for token in tokens) == prefix
    assert [(token.frame, token.frames) for token in tokens] == [frames[:2] for frames in alignment.frames]
    expected = [np.exp(total / frames) for _, frames, total in alignment.frames]
    np.testing.assert_allclose([token.confidence for token in tokens], expected, rtol=1e-4)


def test_a_wide_beam_finds_the_most_probable_text() -> None:
    """Every text of four frames over two letters, summed over its alignments one by one."""
    rows = posteriors(4, 3, 7, 1.0)
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(3), repeat=4):
        text = tuple(token for token, _ in itertools.groupby(path) if token)
        sums[text] = sums.get(text, 0.0) + float(np.exp(sum(rows[t, token] for t, token in enumerate(path))))
    assert tuple(token.id for token in search(rows, 32)) == max(sums, key=lambda text: sums[text])


def test_the_sum_of_alignments_beats_the_best_one() -> None:
    """The case in which greedy search is wrong: a blank is best twice, and yet the letter is likelier than none."""
    rows = np.log(np.array([[0.6, 0.4], [0.6, 0.4]], np.float32))
    assert [token.id for token in search(rows, 2)] == [1]


@pytest.mark.parametrize("seed", range(20))
def test_hotwords_are_worth_what_their_definition_says(seed: int) -> None:
    rows = posteriors(40, len(PIECES) + 1, 100 + seed, [1.0, 2.0][seed % 2])
    boost = Boost(PHRASES, PIECES)
    prefix, _ = beam_search(rows, 8, boost.while_open, boost.at_end)
    assert tuple(token.id for token in search(rows, 8, Hotwords(PHRASES, PIECES))) == prefix


def test_hotwords_change_some_of_these_texts() -> None:
    """Otherwise the test above would hold without them."""
    hotwords = Hotwords(PHRASES, PIECES)
    different = 0
    for seed in range(20):
        rows = posteriors(40, len(PIECES) + 1, 100 + seed, [1.0, 2.0][seed % 2])
        different += fields(search(rows, 8)) != fields(search(rows, 8, hotwords))
    assert different >= 10


@pytest.mark.parametrize("chunk", [1, 7, 16])
def test_chunks_change_nothing(chunk: int) -> None:
    rows = posteriors(300, 30, 3)
    assert fields(search(rows, 8, chunk=chunk)) == fields(search(rows, 8))


def test_what_is_decided_never_changes_and_soon_is() -> None:
    rows = posteriors(300, 30, 4)
    searching = BeamSearch(8, 30)
    decided: list[Token] = []
    waiting = 0
    for row in rows:
        new, tentative = searching.advance(row[None])
        decided += new
        waiting = max(waiting, len(tentative))
    assert fields(decided) == fields(search(rows, 8))[: len(decided)]
    assert waiting < 64
    assert len(decided) > 100


@pytest.mark.parametrize("seed", range(30))
def test_tokens_follow_one_another(seed: int) -> None:
    """Even where texts with other alignments take turns at being the best: noise decides nothing."""
    rows = posteriors(80, 12, 500 + seed, 0.5 + 0.05 * seed)
    searching = BeamSearch(3 + seed % 8, 12)
    decided: list[Token] = []
    for row in rows:
        new, tentative = searching.advance(row[None])
        decided += new
        times = [time for token in decided + tentative for time in (token.frame, token.frame + token.frames)]
        assert times == sorted(times)
        assert all(token.frames >= 1 and 0 < token.confidence <= 1 for token in decided + tentative)


def test_a_stream_without_end_needs_no_more_memory() -> None:
    """Two texts that differ at their beginning and are equally likely after it: one gives way when there is no room."""
    period = np.full((2, 4), 1e-6, np.float32)
    period[0, 1] = period[1, 0] = 1
    rows = np.log(np.tile(period, (2_000, 1)))
    rows[0] = np.log([1e-6, 1e-6, 0.51, 0.49])
    searching = BeamSearch(2, 4)
    before = searching.resident_bytes
    first, waiting = searching.advance(rows[:126])
    assert (len(first), len(waiting)) == (0, 63)
    tokens, tentative = searching.advance(rows[126:])
    assert searching.resident_bytes == before
    assert tokens[0].id == 2
    assert len(tentative) < 64
    assert [token.frame for token in tokens + tentative] == list(range(0, 4_000, 2))


def test_certain_posteriors_are_read_as_greedily(small_model: Model, transcribe: Transcribe) -> None:
    tokens = search(spelled(" hello there", {}), 8)
    assert text_of(tokens) == "hello there"
    assert [token.frame for token in tokens] == list(range(0, 24, 2))
    assert all(token.frames == 1 and token.confidence > 0.99 for token in tokens)


@pytest.mark.parametrize(
    ("hotwords", "heard"),
    [
        ([], "the cat sat"),
        (["kat"], "the kat sat"),
        (["the kat sat"], "the kat sat"),
        (["kat sat", "other"], "the kat sat"),
        # No whole words of the text:
        (["ka"], "the cat sat"),
        (["kats"], "the cat sat"),
        (["kat sit"], "the cat sat"),
        (["at"], "the cat sat"),
        (["ekat"], "the cat sat"),
    ],
)
def test_a_hotword_wins_where_it_is_almost_as_likely(hotwords: list[str], heard: str) -> None:
    rows = spelled(" the cat sat", {5: ("k", 0.2)})
    assert text_of(search(rows, 8, Hotwords(hotwords, LETTERS) if hotwords else None)) == heard


@pytest.mark.parametrize(("hotwords", "heard"), [(["kat"], "kat"), (["katy"], "cat"), (["kat", "katy"], "kat")])
def test_a_match_at_the_end_must_be_complete(hotwords: list[str], heard: str) -> None:
    assert text_of(search(spelled(" cat", {1: ("k", 0.2)}), 8, Hotwords(hotwords, LETTERS))) == heard


def test_a_hotword_that_nothing_sounds_like_is_not_heard() -> None:
    rows = spelled(" the cat sat", {5: ("k", 1e-6)})
    assert text_of(search(rows, 8, Hotwords(["kat"], LETTERS))) == "the cat sat"


def test_any_pieces_spell_a_hotword() -> None:
    """ "cab" as one piece, as two and letter by letter."""
    hotwords = Hotwords(["cab"], PIECES)
    for spelling in (["\u2581cab"], ["\u2581ca", "b"], ["\u2581", "c", "ab"], ["\u2581", "c", "a", "b"]):
        rows = np.full((2 * len(spelling), len(PIECES) + 1), 1e-6)
        for i, piece in enumerate(spelling):
            rows[2 * i, PIECES.index(piece) + 1] = rows[2 * i + 1, 0] = 1
        rows[0, 2], rows[0, rows[0].argmax()] = 0.6, 0.4
        rows = np.log(rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
        assert text_of(search(rows, 8, hotwords), PIECES) == "cab", spelling
        assert text_of(search(rows, 8), PIECES) != "cab", spelling


def test_what_cannot_be_a_hotword() -> None:
    for phrase in ("caf\u00e9", "x9", "cab-cab"):
        with pytest.raises(ValueError, match=f"'{phrase}' holds a letter"):
            Hotwords(["cab", phrase], (*PIECES, "x"))
    for phrase in ("", " cab", "cab "):
        with pytest.raises(ValueError, match="must be words"):
            Hotwords(["cab", phrase], PIECES)
    with pytest.raises(ValueError, match="1 to 10000 letters"):
        Hotwords([], PIECES)
    with pytest.raises(ValueError, match="1 to 10000 letters"):
        Hotwords(["a" * 10_000], PIECES)
    with pytest.raises(ValueError, match="no piece starts a word"):
        Hotwords(["a"], ("a", "b"))


def test_searches_that_are_none(small_model: Model) -> None:
    engine = Engine(small_model, 1)
    for beam in (0, 33, -1):
        with pytest.raises(ValueError, match=f"beam {beam} is not 2 to 32"):
            engine.open(8, beam=beam)
    with pytest.raises(ValueError, match="hotwords need a beam"):
        engine.open(8, hotwords=Hotwords(["cab"], PIECES))
    with pytest.raises(ValueError, match="another vocabulary"):
        engine.open(8, beam=4, hotwords=Hotwords(["cab"], PIECES))


def beam_stream(engine: Engine, audio: Matrix, chunk: int, packet: int, hotwords: Hotwords) -> list[Token]:
    stream = engine.open(chunk, beam=4, hotwords=hotwords)
    tokens: list[Token] = []
    for start in range(0, len(audio), packet):
        stream.feed(audio[start : start + packet])
        if start + packet >= len(audio):
            stream.finish()
        while stream.ready:
            engine.step([stream])
            if packet % 2:
                tokens += stream.take().tokens
    result = stream.take()
    return tokens + result.tokens + result.tentative


@pytest.mark.parametrize("chunk", [0, 8, 16])
def test_streams_search_their_own_posteriors(small_model: Model, transcribe: Transcribe, chunk: int) -> None:
    """Whatever the packets, and with streams of other searches beside it."""
    pieces = tuple("\u2581abcdefghijklmnopqrs")
    hotwords = Hotwords(["abc", "fad"], pieces)
    engine = Engine(small_model, 1)
    audio = speech_like(6)
    expected = fields(search(transcribe(engine, audio, chunk).logits, 4, hotwords))
    assert expected
    for packet in (333, 16_000, len(audio)):
        assert fields(beam_stream(engine, audio, chunk, packet, hotwords)) == expected
    streams = [engine.open(chunk, beam=4, hotwords=hotwords), engine.open(chunk), engine.open(8, beam=32)]
    for stream in streams:
        stream.feed(audio)
        stream.finish()
    while ready := [stream for stream in streams if stream.ready]:
        engine.step(ready)
    first, greedy, _ = [stream.take() for stream in streams]
    assert fields(first.tokens + first.tentative) == expected
    assert fields(greedy.tokens) == fields(transcribe(engine, audio, chunk).tokens)
    assert greedy.tentative == []


def test_reset_forgets_the_search(small_model: Model) -> None:
    engine = Engine(small_model, 1)
    stream = engine.open(8, beam=4)
    results = []
    for _ in range(2):
        stream.feed(speech_like(3))
        stream.finish()
        while stream.ready:
            engine.step([stream])
        result = stream.take()
        results.append((fields(result.tokens + result.tentative), result.frames, result.trailing_blank_frames))
        stream.reset()
        assert stream.take().tentative == []
    assert results[0] == results[1]
