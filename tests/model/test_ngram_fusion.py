"""The language model that was measured: its probabilities sum to one, and it prefers what it has seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onebit_model.bench.ngram_fusion import BEGIN, Fusion, KneserNey, search

SENTENCES = [(1, 2, 3), (1, 2, 4), (2, 3, 1, 2, 3), (4, 4)]
SYMBOLS = 5


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("before", [(), (1,), (1, 2), (4, 4, 4, 4), (3, 1, 2)])
def test_probabilities_sum_to_one(order: int, before: tuple[int, ...]) -> None:
    model = KneserNey(SENTENCES, order, SYMBOLS)
    everything = (1, 2, 3, 4, model.end)
    assert sum(math.exp(model.log_probability((BEGIN, *before), piece)) for piece in everything) == pytest.approx(1)


def test_what_was_seen_is_likelier() -> None:
    model = KneserNey(SENTENCES, 3, SYMBOLS)
    assert model.log_probability((BEGIN, 1), 2) > model.log_probability((BEGIN, 1), 4)
    assert model.log_probability((BEGIN, 1, 2), 3) > model.log_probability((BEGIN, 1, 2), 1)


def test_fusion_decides_where_posteriors_do_not() -> None:
    rows = np.log(np.full((6, 5), 0.01, np.float32))
    rows[[0, 2], [1, 2]] = rows[[1, 3, 5], 0] = math.log(0.96)
    rows[4, [3, 1]] = np.log([0.46, 0.5])
    assert search(rows, 8, Fusion()) == (1, 2, 1)
    assert search(rows, 8, Fusion(KneserNey(SENTENCES, 3, SYMBOLS), 1.0, 1.0)) == (1, 2, 3)
