"""Low-bit products: every instruction set of this machine (fixture isa) against the rule, stated once more in numpy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from onebit_kernels import _core

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

PRODUCTS = [(1, False), (1, True), (2, False), (2, True), (4, False), (4, True)]
FLOAT_MAX = np.finfo(np.float32).max


def steps_per_unit(bound: Floats) -> Floats:
    with np.errstate(divide="ignore", over="ignore"):
        steps = np.float32(127) / bound
    return np.where(steps <= FLOAT_MAX, steps, np.float32(0))


def int8_codes(x: Floats) -> tuple[Ints, Floats]:
    """(M, K) -> codes (M, K) and the value of one step (M, 1)."""
    bound = np.abs(x).max(axis=1, keepdims=True)
    return np.rint(x * steps_per_unit(bound)).astype(np.int64), bound / np.float32(127)


def table_sums(x: Floats, signs: Ints) -> tuple[Ints, Floats]:
    """Sums of fast mode: x (M, K), signs (N, K) of +-1 -> (M, N) and the value of one step (M, 1)."""
    padding = -x.shape[1] % 4
    x, signs = np.pad(x, ((0, 0), (0, padding))), np.pad(signs, ((0, 0), (0, padding)), constant_values=-1)
    groups = x.reshape(len(x), -1, 4)
    magnitudes = np.abs(groups)
    sums = (magnitudes[..., 0] + magnitudes[..., 1]) + (magnitudes[..., 2] + magnitudes[..., 3])
    bound = sums.max(axis=1, keepdims=True)
    scaled = groups * steps_per_unit(bound)[:, :, None]
    total = np.zeros((len(x), len(signs)), np.int64)
    for group, sign in zip(scaled.swapaxes(0, 1), signs.reshape(len(signs), -1, 4).swapaxes(0, 1), strict=True):
        terms = group[:, None, :] * sign[None, :, :].astype(np.float32)
        total += np.rint((terms[..., 0] + terms[..., 1]) + (terms[..., 2] + terms[..., 3])).astype(np.int64)
    return total, bound / np.float32(127)


def expected(x: Floats, codes: Ints, bits: int, exact: bool, layer: tuple[Floats, Floats]) -> Floats:
    """x (M, K), 4-bit codes (N, K), layer: scale (N,) and bias (N,) -> (M, N)."""
    scale, bias = layer
    levels = 2 * (codes >> (4 - bits)) - (2**bits - 1)
    if exact or bits == 4:
        quantised, step = int8_codes(x)
        total = quantised @ levels.T
    elif bits == 1:
        total, step = table_sums(x, levels)
    else:
        high, step = table_sums(x, 2 * (codes >> 3) - 1)
        low, _ = table_sums(x, 2 * (codes >> 2 & 1) - 1)
        total = 2 * high + low
    unit = scale if bits == 1 else np.float32(0.5) * scale
    with np.errstate(over="ignore"):
        return (total.astype(np.float32) * step) * unit + bias


def planes_of(codes: Ints) -> NDArray[np.uint8]:
    """4-bit codes (N, K) -> (4, N, ceil(K / 8)), plane 0 the most significant."""
    return np.stack([np.packbits(codes >> (3 - p) & 1, axis=1, bitorder="little") for p in range(4)])


def random_layer(rng: np.random.Generator, rows: int, columns: int) -> tuple[Ints, Floats, Floats]:
    codes = rng.integers(0, 16, (rows, columns))
    return codes, rng.uniform(0.01, 1, (3, rows)).astype(np.float32), rng.normal(size=rows).astype(np.float32)


def check_product(x: Floats, rows: int, isa: str, product: tuple[int, bool]) -> None:
    bits, exact = product
    codes, scales, bias = random_layer(np.random.default_rng(rows), rows, x.shape[1])
    matrix = _core.PackedMatrix.from_planes([(planes_of(codes), scales, bias)], x.shape[1], [1, 2, 4], isa)
    scale = scales[(1, 2, 4).index(bits)]
    np.testing.assert_array_equal(matrix.multiply(x, bits, exact), expected(x, codes, bits, exact, (scale, bias)))


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(
    ("M", "N", "K"),
    [(1, 1, 1), (1, 17, 4), (3, 63, 7), (7, 65, 33), (6, 64, 32), (13, 100, 129), (25, 130, 257), (50, 48, 512)],
)
def test_every_size(isa: str, product: tuple[int, bool], M: int, N: int, K: int) -> None:
    check_product(np.random.default_rng(K).normal(size=(M, K)).astype(np.float32), N, isa, product)


@pytest.mark.parametrize("product", PRODUCTS)
def test_sums_longer_than_16_bits(isa: str, product: tuple[int, bool]) -> None:
    """Largest entries everywhere, over more columns than 16-bit partial sums can hold."""
    check_product(np.full((2, 4800), 3, np.float32), 70, isa, product)


def adversarial_rows(columns: int) -> Floats:
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(9, columns)).astype(np.float32)
    x[0] = 0
    x[1, columns // 2] = 1e30
    x[2] *= np.float32(1e-39)
    x[3] *= np.float32(1e-30)
    x[4] = np.where(np.arange(columns) % 2, -1, 1)
    x[5] = np.float32(FLOAT_MAX / 8)
    x[6] = -0.0
    x[7] = rng.integers(-127, 128, columns) + np.float32(0.5)  # ties
    x[7, 0] = 127
    x[8] = np.float32(1e-45)
    return x


@pytest.mark.parametrize("product", PRODUCTS)
def test_adversarial_input(isa: str, product: tuple[int, bool]) -> None:
    check_product(adversarial_rows(96), 33, isa, product)


@pytest.mark.parametrize(("M", "N", "K"), [(1, 1, 1), (5, 33, 27), (26, 257, 240), (4, 16, 1536)])
def test_int8_weights(isa: str, M: int, N: int, K: int) -> None:
    rng = np.random.default_rng(N)
    weights = rng.integers(-128, 128, (N, K)).astype(np.int8)
    scale, bias = rng.uniform(0.01, 1, N).astype(np.float32), rng.normal(size=N).astype(np.float32)
    x = rng.normal(size=(M, K)).astype(np.float32)
    codes, step = int8_codes(x)
    total = codes @ weights.T.astype(np.int64)
    got = _core.PackedMatrix.from_int8(weights, scale, bias, isa).multiply(x, 8)
    np.testing.assert_array_equal(got, (total.astype(np.float32) * step) * scale + bias)


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_row_does_not_depend_on_its_company(isa: str, product: tuple[int, bool]) -> None:
    rng = np.random.default_rng(1)
    codes, scales, bias = random_layer(rng, 80, 64)
    matrix = _core.PackedMatrix.from_planes([(planes_of(codes), scales, bias)], 64, [1, 2, 4], isa)
    x = rng.normal(size=(31, 64)).astype(np.float32)
    together = matrix.multiply(x, *product)
    for count in (1, 2, 5, 30):
        np.testing.assert_array_equal(matrix.multiply(x[-count:], *product), together[-count:])


@pytest.mark.parametrize("product", PRODUCTS)
def test_stacked_layers_are_the_layers(isa: str, product: tuple[int, bool]) -> None:
    rng = np.random.default_rng(2)
    layers = []
    for rows in (24, 40, 9):
        codes, scales, bias = random_layer(rng, rows, 72)
        layers.append((planes_of(codes), scales, None if rows == 40 else bias))
    x = rng.normal(size=(4, 72)).astype(np.float32)
    alone = [_core.PackedMatrix.from_planes([layer], 72, [1, 2, 4], isa).multiply(x, *product) for layer in layers]
    stacked = _core.PackedMatrix.from_planes(layers, 72, [1, 2, 4], isa).multiply(x, *product)
    np.testing.assert_array_equal(stacked, np.concatenate(alone, axis=1))


def test_one_and_two_bit_are_near_the_float_product() -> None:
    rng = np.random.default_rng(3)
    x, (codes, scales, bias) = rng.normal(size=(16, 512)).astype(np.float32), random_layer(rng, 256, 512)
    matrix = _core.PackedMatrix.from_planes([(planes_of(codes), scales, bias)], 512, [1, 2, 4])
    for bits, scale in zip((1, 2, 4), scales, strict=True):
        weights = (codes >> (4 - bits)) - (2**bits - 1) / 2
        product = x @ (weights * (2 if bits == 1 else 1) * scale[:, None]).T + bias
        for exact in (False, True):
            error = np.linalg.norm(matrix.multiply(x, bits, exact) - product) / np.linalg.norm(product)
            assert error < 0.01


def test_three_precisions_cost_one_and_a_half_times_the_four_bit_planes(isa: str) -> None:
    rng = np.random.default_rng(4)
    codes, scales, bias = random_layer(rng, 512, 1024)
    matrix = _core.PackedMatrix.from_planes([(planes_of(codes), scales, bias)], 1024, [1, 2, 4], isa)
    assert matrix.isa == isa
    assert matrix.resident_bytes <= 1.5 * planes_of(codes).nbytes + 4 * 4 * 512


def test_missing_planes_and_unknown_instruction_sets_are_errors() -> None:
    rng = np.random.default_rng(5)
    codes, scales, bias = random_layer(rng, 8, 16)
    two_planes = np.ascontiguousarray(planes_of(codes)[:2])
    with pytest.raises(ValueError, match="no 4-bit weights"):
        _core.PackedMatrix.from_planes([(two_planes, scales, bias)], 16, [1, 4])
    matrix = _core.PackedMatrix.from_planes([(two_planes, scales, bias)], 16, [1, 2])
    with pytest.raises(ValueError, match="lacks this precision"):
        matrix.multiply(np.zeros((1, 16), np.float32), 4)
    with pytest.raises(ValueError, match=r"unknown isa 'mmx'; available: .*generic"):
        _core.PackedMatrix.from_planes([(two_planes, scales, bias)], 16, [1], "mmx")
