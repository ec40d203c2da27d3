"""Attention of both modes against numpy, on sizes that fill no tile."""

import numpy as np
import pytest
from numpy.typing import NDArray

from onebit_kernels import _core

Array = NDArray[np.float32]


def expected(queries: Array, keys: Array, values: Array, heads: int) -> NDArray[np.float64]:
    q, k, v = (x.astype(np.float64).reshape(len(x), heads, -1).transpose(1, 0, 2) for x in (queries, keys, values))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(len(queries), -1)


def inputs(rows: int, frames: int, dim: int) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(rows + 31 * frames)
    queries, keys, values = (2 * random.standard_normal((n, dim)) for n in (rows, frames, frames))
    return queries.astype(np.float32), keys.astype(np.float32), values.astype(np.float32)


SIZES = [(1, 1, 32, 2), (7, 3, 32, 1), (8, 48, 128, 2), (13, 49, 96, 2), (5, 200, 128, 1), (9, 1500, 64, 1)]


@pytest.mark.parametrize(("rows", "frames", "dim", "heads"), SIZES)
def test_exact(isa: str, rows: int, frames: int, dim: int, heads: int) -> None:
    q, k, v = inputs(rows, frames, dim)
    np.testing.assert_allclose(_core.attention(q, k, v, heads, True, isa), expected(q, k, v, heads), atol=1e-5)


@pytest.mark.parametrize(("rows", "frames", "dim", "heads"), SIZES)
def test_fast(isa: str, rows: int, frames: int, dim: int, heads: int) -> None:
    """Two-byte keys and values: within 2e-3 of the largest value, a quarter of a step of int8 activations."""
    q, k, v = inputs(rows, frames, dim)
    actual = _core.attention(q, k, v, heads, False, isa)
    np.testing.assert_allclose(actual, expected(q, k, v, heads), atol=2e-3 * np.abs(v).max())


@pytest.mark.parametrize(("rows", "frames", "dim", "heads"), SIZES)
def test_frames_of_the_decoder(isa: str, rows: int, frames: int, dim: int, heads: int) -> None:
    """One byte a value where there are integers. Scores err more than values: these queries and keys are large."""
    q, k, v = inputs(rows, frames, dim)
    actual = _core.attention(q, k, v, heads, False, isa, True)
    error = actual - expected(q, k, v, heads)
    assert np.sqrt((error**2).mean()) < 0.02 * np.sqrt((v**2).mean())


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("frames", [False, True])
def test_a_lone_row_is_computed_as_one_of_many(isa: str, exact: bool, frames: bool) -> None:
    q, k, v = inputs(9, 70, 64)
    together = _core.attention(q, k, v, 2, exact, isa, frames)
    for r in range(len(q)):
        np.testing.assert_array_equal(_core.attention(q[r : r + 1], k, v, 2, exact, isa, frames)[0], together[r])


def test_zeros(isa: str) -> None:
    zeros = np.zeros((4, 32), np.float32)
    np.testing.assert_array_equal(_core.attention(zeros, zeros, zeros, 2, False, isa), 0)


@pytest.mark.parametrize(("key_factor", "value_factor", "allowed"), [(1, 1e4, 2e-3), (1e-6, 1e-6, 2e-3), (20, 1, 2e-2)])
def test_an_outlying_frame(isa: str, key_factor: float, value_factor: float, allowed: float) -> None:
    """Frames that share its block share its scale; keys have the fewest bits to lose."""
    q, k, v = inputs(6, 60, 32)
    k[17] *= key_factor
    v[40] *= value_factor
    actual = _core.attention(q, k, v, 2, False, isa)
    np.testing.assert_allclose(actual, expected(q, k, v, 2), atol=allowed * np.abs(v).max())
