"""The search over written pieces and the alignment against their definitions, and their guards."""

from __future__ import annotations

import re

import numpy as np
import pytest
from reference_search import Boost
from reference_writing import END, NO_SPEECH, Network, Text, first_frames, loops, write

from onebit_kernels import Hotwords, find_loop, find_repetition
from onebit_kernels._core import PieceSearch, align

VOCABULARY = 40


def random_network(seed: int, end: float = 2.0, vocabulary: int = VOCABULARY) -> Network:
    """Log-probabilities that depend on the whole text; `end` makes the end likelier."""

    def network(text: Text) -> np.ndarray:
        logits = 2.0 * np.random.default_rng([seed, *text]).standard_normal(vocabulary)
        logits[END] += end
        return np.asarray((logits - np.logaddexp.reduce(logits)).astype(np.float32).astype(np.float64))

    return network


def searched(network: Network, width: int, most_pieces: int) -> PieceSearch:
    search = PieceSearch(width, VOCABULARY, most_pieces)
    while not search.ended:
        search.advance(np.array([network(tuple(text)) for text in search.open_texts], np.float32))
    return search


@pytest.mark.parametrize("width", [1, 2, 5, 8])
@pytest.mark.parametrize("seed", range(6))
def test_the_search_is_that_of_its_definition(width: int, seed: int) -> None:
    network = random_network(seed)
    expected = write(network, width, 30)
    search = searched(network, width, 30)
    assert tuple(search.pieces) == expected.text
    assert search.looped == expected.looped
    assert search.mean_log_probability == pytest.approx(expected.mean, abs=1e-5)
    assert search.no_speech_probability == pytest.approx(float(np.exp(network(())[NO_SPEECH])), rel=1e-5)


def test_a_beam_writes_likelier_texts() -> None:
    means = {w: sum(searched(random_network(s), w, 30).mean_log_probability for s in range(20)) for w in (1, 8)}
    assert means[8] > means[1] + 1


def of_pieces(wanted: dict[int, float]) -> np.ndarray:
    row = np.full(VOCABULARY, -20.0, np.float32)
    for piece, log_probability in wanted.items():
        row[piece] = log_probability
    return row


@pytest.mark.parametrize("width", [1, 4])
def test_no_speech_is_a_text_without_pieces(width: int) -> None:
    search = searched(lambda text: of_pieces({END: -2.0} if text else {NO_SPEECH: -0.1, 9: -3.0}), width, 30)
    assert search.pieces == []
    assert not search.looped
    assert search.no_speech_probability == pytest.approx(np.exp(-0.1), rel=1e-5)


@pytest.mark.parametrize("piece", [NO_SPEECH, 1, 2, 3, 5])
def test_special_pieces_are_never_written(piece: int) -> None:
    search = searched(lambda text: of_pieces({piece: -0.01, 7: -5.0} if len(text) < 3 else {END: -0.1}), 1, 30)
    assert search.pieces == ([] if piece == NO_SPEECH else [7, 7, 7])


@pytest.mark.parametrize("phrase", [(7,), (7, 8), (7, 8, 9), tuple(range(6, 18))])
def test_a_loop_ends(phrase: Text) -> None:
    search = searched(lambda text: of_pieces({phrase[len(text) % len(phrase)]: -0.01}), 1, 400)
    assert search.looped
    assert loops(tuple(search.pieces))
    assert not loops(tuple(search.pieces[:-1]))


def test_saying_something_twice_is_no_loop() -> None:
    said = [*range(6, 30)] * 2 + [7, 7, 7, 7, 7]
    search = searched(lambda text: of_pieces({said[len(text)] if len(text) < len(said) else END: -0.01}), 1, 100)
    assert search.pieces == said
    assert not search.looped


def test_a_phrase_that_is_written_twice_is_found() -> None:
    assert find_repetition([9, 7, 8, 6, 7, 8, 6, 11]) == (1, 3)
    assert find_repetition([9, 7, 8, 6, 7, 8, 6, 7, 8, 6], begin=2) == (2, 3)
    assert find_repetition([7, 7, 7, 8, 9, 8, 9, 7, 8]) is None  # shorter ones are said
    assert find_repetition([7, 8, 9, 7, 8]) is None
    assert find_repetition([]) is None
    with pytest.raises(TypeError):
        find_repetition([7, 8, 9], begin=-1)


def test_a_loop_is_found_from_its_first_time_on() -> None:
    assert find_loop([9, 11, *[7, 8] * 10]) == (2, 2)
    assert find_loop([9, 11, 8, *[7, 8] * 10]) == (2, 2)
    assert find_loop([9, 11, *[7, 8] * 9]) is None
    assert find_loop([]) is None


@pytest.mark.parametrize("width", [1, 4])
def test_a_text_is_written_another_way(width: int) -> None:
    """From where it is told to: as if the piece that came there were impossible, in that place alone."""
    for seed in range(6):

        def network(text: Text, seed: int = seed) -> np.ndarray:
            return random_network(seed, end=-50.0 if len(text) < 8 else 2.0)(text)

        search = searched(network, width, 30)
        text = search.pieces
        length = len(text) // 2
        assert search.rewrite(length)
        assert search.open_texts == [text[:length]]
        assert not search.ended

        def another(text: Text, begun: Text = tuple(text[:length]), barred: int = text[length]) -> np.ndarray:
            row = network(text).copy()
            if text == begun:
                row[barred] = -np.inf
            elif len(text) < len(begun):
                row[np.arange(VOCABULARY) != begun[len(text)]] = -np.inf
            return row

        while not search.ended:
            search.advance(np.array([network(tuple(text)) for text in search.open_texts], np.float32))
        scores = [another(tuple(search.pieces[:i]))[piece] for i, piece in enumerate([*search.pieces, END])]
        assert all(np.isfinite(scores if not search.looped else scores[:-1]))
        if width == 1 and len(search.pieces) < 30 and not search.looped:
            assert tuple(search.pieces) == write(another, 1, 40).text
            assert search.mean_log_probability == pytest.approx(np.mean(scores), abs=1e-5)


def test_rewriting_ends() -> None:
    """A network that goes in circles whatever it is told gets a few chances, and no more memory than was planned."""

    def network(text: Text) -> np.ndarray:
        return of_pieces({7 + len(text) % 3: -0.1, 12 + len(text) % 5: -3.0, END: -90.0})

    search = searched(network, 1, 400)
    chances = 0
    while search.rewrite(3):
        assert not search.ended
        chances += 1
        while not search.ended:
            search.advance(np.array([network(tuple(text)) for text in search.open_texts], np.float32))
    assert search.ended
    assert search.looped
    assert 2 <= chances <= 16
    for length in (0, len(search.pieces)):
        with pytest.raises(ValueError, match="length"):
            search.rewrite(length)


def test_a_beam_prefers_a_text_that_ends_to_a_loop() -> None:
    """Nine times out of ten the same piece goes on; the rival that ends is far less likely."""

    def network(text: Text) -> np.ndarray:
        if text and text[0] == 8:
            return of_pieces({END: -6.0})
        return of_pieces({7: -0.1, 8: -3.0}) if not text else of_pieces({7: -0.1, 9: -9.0})

    assert searched(network, 1, 100).looped
    search = searched(network, 4, 100)
    assert search.pieces == [8]
    assert not search.looped


@pytest.mark.parametrize("width", [1, 8])
def test_texts_are_bounded(width: int) -> None:
    search = searched(random_network(3, end=-50.0), width, 25)
    assert len(search.pieces) == 25
    assert search.looped


@pytest.mark.parametrize("width", [0, 9])
def test_other_widths_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="is not 1 to 8"):
        PieceSearch(width, VOCABULARY, 10)


@pytest.mark.parametrize(("rows", "frames"), [(1, 1), (1, 40), (5, 3), (12, 4), (7, 60), (40, 25), (30, 200)])
def test_the_alignment_is_that_of_its_definition(rows: int, frames: int) -> None:
    weights = np.random.default_rng(rows + frames).random((rows, frames)).astype(np.float32)
    assert align(weights) == first_frames(weights.astype(np.float64))


def test_pieces_are_found_where_they_were_looked_for() -> None:
    starts = [0, 9, 22, 31, 50, 58]
    weights = np.full((6, 70), 0.001, np.float32)
    for row, (start, end) in enumerate(zip(starts, [*starts[1:], 70], strict=True)):
        weights[row, start:end] = 1 / (end - start)
    assert align(weights) == starts


PIECES = [b""] * 6 + [bytes([byte]) for byte in b" ,.-'abcdABCD1\xc3\xa9"]
PIECES += [b" a", b" A", b"ab", b" cab", b" Cab,", b"bc", b", ", b" d1"]
PHRASES = ["cab", "A cab", "a-b d1", "abc", "cab cab"]


def searched_with_hotwords(network: Network, width: int, hotwords: Hotwords) -> PieceSearch:
    search = PieceSearch(width, len(PIECES), 20, hotwords)
    while not search.ended:
        search.advance(np.array([network(tuple(text)) for text in search.open_texts], np.float32))
    return search


class WrittenBoost(Boost):
    """What hotwords are worth in a written text: it is the text's words that count."""

    def __init__(self) -> None:
        super().__init__([words(phrase) for phrase in PHRASES], [])

    def _text(self, prefix: Text) -> str:
        text = b"".join(PIECES[piece] for piece in prefix).decode("latin-1")
        spaced = re.sub(r"[^a-z0-9'\x80-\xff]+", " ", f" {text.lower()}")
        return spaced


def words(phrase: str) -> str:
    return re.sub(r"[^a-z0-9']+", " ", phrase.lower())


@pytest.mark.parametrize("width", [1, 4])
def test_hotwords_are_worth_what_their_definition_says(width: int) -> None:
    hotwords, boost, changed = Hotwords.of_bytes(PHRASES, PIECES, 1.0), WrittenBoost(), 0
    for seed in range(20):
        network = random_network(seed, vocabulary=len(PIECES))
        expected = write(network, width, 20, boost.while_open, boost.at_end)
        search = searched_with_hotwords(network, width, hotwords)
        assert tuple(search.pieces) == expected.text
        changed += expected.text != write(network, width, 20).text
    assert changed >= 5


def test_hotwords_of_no_word_are_refused() -> None:
    with pytest.raises(ValueError, match="must be words"):
        Hotwords.of_bytes(["?!"], PIECES)
    with pytest.raises(ValueError, match="another vocabulary"):
        PieceSearch(1, VOCABULARY, 10, Hotwords.of_bytes(["a"], PIECES))
