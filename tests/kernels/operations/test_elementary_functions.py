"""Error bounds of the vectorised functions, as elementary_functions.h states them."""

import math

import numpy as np

from onebit_kernels import _core


def test_exponential(isa: str) -> None:
    x = np.linspace(-87, 88, 200_001, dtype=np.float32)
    expected = np.exp(x.astype(np.float64))
    relative = np.abs(_core.elementary("exp", x, isa)[:, 0] - expected) / expected
    assert relative.max() < 3e-7


def test_exponential_is_finite_beyond_its_range(isa: str) -> None:
    y = _core.elementary("exp", np.array([-1e30, -100, 100, 1e30], np.float32), isa)[:, 0]
    assert np.isfinite(y).all()
    assert y[:2].max() < 1e-37


def test_logarithm(isa: str) -> None:
    x = np.exp(np.linspace(math.log(1e-7), math.log(1e7), 200_001)).astype(np.float32)
    assert np.abs(_core.elementary("log", x, isa)[:, 0] - np.log(x.astype(np.float64))).max() < 2e-6


def test_error_function(isa: str) -> None:
    x = np.linspace(-8, 8, 100_001, dtype=np.float32)
    expected = np.array([math.erf(v) for v in x])
    assert np.abs(_core.elementary("erf", x, isa)[:, 0] - expected).max() < 5e-7
