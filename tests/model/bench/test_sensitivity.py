"""The allocation of planes keeps the file within its size, and what it is estimated by is the file that is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_packed import WRITING, WRITTEN, random_tensors

from onebit_model.bench.sensitivity import COMPRESSION, EMBEDDING_EXCEPTIONS, SAFETY_BYTES, Sensitivity, fixed_bytes
from onebit_model.config import ModelConfig
from onebit_model.files.allocation import EMBEDDING, Allocation
from onebit_model.files.layout import low_bit_layers
from onebit_model.files.packed import ModelDescription, read_packed, write_packed
from onebit_model.network.export import fp32_bytes

SHIPPED = ModelConfig(
    decoder_blocks=6, decoder_feed_forward=2048, decoder_vocabulary_size=28_000, decoder_positions=448
)
TEXTS = 170_000  # bytes of 28,000 pieces


def weights_of(config: ModelConfig) -> dict[str, int]:
    return {layer.name: layer.outputs * layer.inputs for layer in low_bit_layers(config) if layer.name != EMBEDDING}


@pytest.fixture(scope="module")
def planes() -> dict[str, dict[str, int]]:
    random = np.random.default_rng(4)
    cost = {name: float(random.lognormal()) for name in weights_of(SHIPPED)}
    return Sensitivity({name: {1: c, 2: c / 8, 4: c / 80} for name, c in cost.items()}).planes(
        SHIPPED, weights_of(SHIPPED), TEXTS
    )


def test_the_embedding_has_two_planes_at_1_bit(planes: dict[str, dict[str, int]]) -> None:
    assert planes["1"][EMBEDDING] == 2
    assert EMBEDDING not in planes["2"]


def test_only_what_2_bit_gives_four_planes_has_them_at_1_bit(planes: dict[str, dict[str, int]]) -> None:
    assert set(planes["2"].values()) == {4}
    assert {name for name, count in planes["1"].items() if count == 4} <= set(planes["2"])
    assert list(planes["1"].values()).count(2) > 40


@pytest.mark.parametrize("bits", [1, 2])
def test_the_budget_is_spent_and_kept(planes: dict[str, dict[str, int]], bits: int) -> None:
    given = {name: planes[str(bits)].get(name, bits) for name in weights_of(SHIPPED)}
    matrices = sum(given[name] * count for name, count in weights_of(SHIPPED).items()) / 8
    left = fp32_bytes(SHIPPED) / COMPRESSION[bits] - fixed_bytes(SHIPPED, bits, TEXTS) - matrices
    assert SAFETY_BYTES <= left < SAFETY_BYTES + 2 * SHIPPED.d_model**2 / 8  # two planes of the smallest matrix


@pytest.mark.parametrize("bits", [1, 2])
def test_a_file_has_the_estimated_size(bits: int, tmp_path: Path, description: ModelDescription) -> None:
    """But for the metadata."""
    allocation: Allocation = EMBEDDING_EXCEPTIONS.only((bits,))
    tensors = random_tensors((bits,), config=WRITING, allocation=allocation)
    described = replace(description, config=WRITING, bits=(bits,), allocation=allocation)
    write_packed(tmp_path / "model", described, tensors)
    estimate = fixed_bytes(WRITING, bits, sum(map(len, WRITTEN.pieces)))
    matrices = sum(bits * count for count in weights_of(WRITING).values()) / 8
    assert 0 < read_packed(tmp_path / "model").file_bytes - estimate - matrices < 8_000
