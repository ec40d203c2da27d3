from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onebit_model.config import ModelConfig
from onebit_model.files.layout import code_values, low_bit_layers, pack_planes, tensor_specs, unpack_planes

CODES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 40)), elements=st.integers(0, 15))


@given(CODES)
def test_four_planes_round_trip(codes: np.ndarray) -> None:
    assert (unpack_planes(pack_planes(codes, 4), codes.shape[1]) == codes).all()


@given(CODES, st.sampled_from([1, 2, 4]))
def test_leading_planes_are_the_nested_codes(codes: np.ndarray, bits: int) -> None:
    planes = pack_planes(codes, 4)[:bits]
    assert (unpack_planes(planes, codes.shape[1]) == codes >> (4 - bits)).all()
    assert (planes == pack_planes(codes, bits)).all()


def test_bit_order_and_padding() -> None:
    codes = np.zeros((1, 11), np.uint8)
    codes[0, 10] = 8  # most significant bit of column 10: plane 0, byte 1, bit 2
    planes = pack_planes(codes, 4)
    assert planes.shape == (4, 1, 2)
    assert planes[0, 0].tolist() == [0, 4]
    assert not planes[1:].any()


@pytest.mark.parametrize(("bits", "values"), [(1, [-1, 1]), (2, [-1.5, -0.5, 0.5, 1.5]), (4, np.arange(16) - 7.5)])
def test_code_values(bits: int, values: list[float]) -> None:
    assert code_values(np.arange(1 << bits, dtype=np.uint8), bits).tolist() == list(values)


def test_shipped_sizes() -> None:
    """The default configuration has 96 % of its weights in low-bit layers and 1 bit is 20 x smaller than fp32."""
    config = ModelConfig()
    weights = sum(layer.outputs * layer.inputs for layer in low_bit_layers(config))
    specs = tensor_specs(config, (1,))
    int8_weights = sum(spec.nbytes for name, spec in specs.items() if name.endswith(".int8"))
    assert weights / (weights + int8_weights) > 0.95
    fp32_bytes = 4 * (weights + int8_weights)
    assert fp32_bytes / sum(spec.nbytes for spec in specs.values()) > 20
