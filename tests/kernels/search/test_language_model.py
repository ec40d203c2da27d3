"""The n-gram model in the beam search: against its definition, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from random_posteriors import PHRASES, PIECES, fields, posteriors, search
from reference_language_model import BackoffModel, TrieArrays
from reference_search import Boost, Worth, beam_search

from onebit_kernels import Hotwords, LanguageModel
from onebit_kernels._core import BeamSearch

OUTPUTS = len(PIECES) + 1
WEIGHT = 0.7
TOKEN_BONUS = 0.4


def random_trie(order: int, seed: int, outputs: int = OUTPUTS) -> TrieArrays:
    """Every token behind the root, some behind the others; contexts that a shorter one lacks occur, too."""
    random = np.random.default_rng(seed)
    level: list[list[int]] = [list(range(outputs))]
    children: list[int] = []
    tokens: list[int] = []
    for n in range(order):
        children += [len(own) for own in level]
        tokens += [token for own in level for token in own]
        chosen = [np.flatnonzero(random.random(outputs) < 0.3 / (n + 1)) for own in level for _ in own]
        level = [[int(token) for token in own if token] for own in chosen]
    return TrieArrays(
        np.array(tokens, np.uint16),
        random.integers(1, 120, len(tokens)).astype(np.uint8),
        random.integers(20, 60, len(children)).astype(np.uint8),
        np.array(children, np.uint16),
    )


def built(arrays: TrieArrays, outputs: int = OUTPUTS) -> LanguageModel:
    return LanguageModel(**vars(arrays), outputs=outputs, weight=WEIGHT, token_bonus=TOKEN_BONUS)


def while_open(model: BackoffModel) -> Worth:
    return lambda prefix: WEIGHT * model.text(prefix) + TOKEN_BONUS * len(prefix)


def at_end(model: BackoffModel) -> Worth:
    return lambda prefix: WEIGHT * model.text(prefix) + TOKEN_BONUS * max(len(prefix) - 1, 0)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_the_model_is_worth_what_its_definition_says(order: int, seed: int) -> None:
    rows = posteriors(40, OUTPUTS, 100 * order + seed, [1.0, 2.0][seed % 2])
    arrays = random_trie(order, seed)
    model = BackoffModel(arrays)

    prefix, _ = beam_search(rows, 8, while_open(model), at_end(model))
    assert tuple(token.id for token in search(rows, 8, language_model=built(arrays))) == prefix


def test_the_model_changes_some_of_these_texts() -> None:
    """Otherwise the test above would hold without it."""
    different = 0
    for seed in range(8):
        rows = posteriors(40, OUTPUTS, 300 + seed, [1.0, 2.0][seed % 2])
        different += fields(search(rows, 8)) != fields(search(rows, 8, language_model=built(random_trie(3, seed))))
    assert different >= 4


@pytest.mark.parametrize("seed", range(6))
def test_hotwords_and_model_add_up(seed: int) -> None:
    rows = posteriors(40, OUTPUTS, 900 + seed, 1.5)
    arrays, boost = random_trie(3, seed), Boost(PHRASES, PIECES)
    model = BackoffModel(arrays)

    open_worth, end_worth = while_open(model), at_end(model)
    prefix, _ = beam_search(
        rows, 8, lambda p: boost.while_open(p) + open_worth(p), lambda p: boost.at_end(p) + end_worth(p)
    )
    tokens = search(rows, 8, Hotwords(PHRASES, PIECES), language_model=built(arrays))
    assert tuple(token.id for token in tokens) == prefix


@pytest.mark.parametrize("chunk", [1, 7, 16])
def test_chunks_change_nothing(chunk: int) -> None:
    rows, model = posteriors(300, OUTPUTS, 3), built(random_trie(4, 1))
    whole = fields(search(rows, 8, language_model=model))
    assert fields(search(rows, 8, chunk=chunk, language_model=model)) == whole


def changed(name: str, place: int, value: int) -> TrieArrays:
    arrays = random_trie(3, 0)
    values: NDArray[np.generic] = getattr(arrays, name).copy()
    values[place] = value
    return dataclasses.replace(arrays, **{name: values})


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        (changed("tokens", 3, OUTPUTS), "not of the vocabulary"),
        (changed("tokens", 3, 2), "not sorted"),
        (changed("children", 0, OUTPUTS - 1), "add up|missing|before its parent|sorted"),
        (changed("children", 5, 40), "add up"),
        (dataclasses.replace(random_trie(3, 0), log_probabilities=np.zeros(4, np.uint8)), "log-probability"),
        (dataclasses.replace(random_trie(3, 0), backoffs=np.zeros(4, np.uint8)), "back-off"),
        (dataclasses.replace(random_trie(3, 0), children=np.zeros(0, np.uint16)), "back-off"),
    ],
)
def test_what_is_no_trie_is_refused(arrays: TrieArrays, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        built(arrays)


def test_a_model_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="another vocabulary"):
        BeamSearch(4, OUTPUTS + 1, language_model=built(random_trie(2, 0)))


def test_memory_is_reported() -> None:
    arrays = random_trie(5, 0)
    assert built(arrays).resident_bytes > 3 * len(arrays.tokens) + 11 * len(arrays.children)


def test_a_first_token_is_shown_before_it_is_certain_and_taken_back_at_the_end() -> None:
    """A token of half a nat less than silence: seen while more may come, gone when nothing does."""
    arrays = dataclasses.replace(random_trie(1, 0), log_probabilities=np.zeros(OUTPUTS, np.uint8))
    model = LanguageModel(**vars(arrays), outputs=OUTPUTS, weight=1.0, token_bonus=1.0)
    row = np.full((1, OUTPUTS), -12.0, np.float32)
    row[0, 0], row[0, 1] = -0.5, -1.0
    searching = BeamSearch(4, OUTPUTS, language_model=model)
    _, shown = searching.advance(row, ended=False)
    assert [token.id for token in shown] == [1]
    assert searching.advance(row[:0]) == ([], [])
