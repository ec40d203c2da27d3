"""What is exported is what the quantised network computes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from random_packed import quantised_network

from onebit_model.config import ModelConfig
from onebit_model.errors import ModelFileError, UnsupportedBitsError
from onebit_model.files.layout import low_bit_layers, low_bit_weights
from onebit_model.files.packed import ModelDescription
from onebit_model.network.conformer import Conformer
from onebit_model.network.export import export_network, network_from_packed, pack_network
from onebit_model.network.quantizers import QuantLinear, quantise


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("private_norms", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_packed_network_equals_the_quantised_one(
    bits: int, private_norms: bool, per_row: bool, tmp_path: Path, tiny: ModelConfig, description: ModelDescription
) -> None:
    network, precision = quantised_network(tiny, per_row=per_row, private_norms=private_norms)
    export_network(network, tmp_path / "model", description)
    loaded = network_from_packed(tmp_path / "model", bits, activations=False)
    precision.bits = bits
    mel, frames = torch.randn(2, 48, tiny.mel_bins), torch.tensor([48, 40])
    with torch.no_grad():
        expected, actual = network(mel, frames)[0], loaded(mel, frames)[0]
    # Only the rounding of scales, biases and norms to float16 separates the two.
    assert torch.allclose(expected, actual, atol=0.02)
    for name, layer in network.named_modules():
        if isinstance(layer, QuantLinear):
            difference = layer.quantised_weight(bits) - loaded.get_submodule(name).weight
            assert difference.abs().max() <= 6e-4 * layer.quantised_weight(bits).abs().max()


def test_activation_rounding_is_on_by_default(tmp_path: Path, tiny: ModelConfig, description: ModelDescription) -> None:
    network, _ = quantised_network(tiny)
    export_network(network, tmp_path / "model", description)
    mel, frames = torch.randn(1, 16, tiny.mel_bins), torch.tensor([16])
    with_rounding = network_from_packed(tmp_path / "model", 4)(mel, frames)[0]
    without = network_from_packed(tmp_path / "model", 4, activations=False)(mel, frames)[0]
    assert 0 < (with_rounding - without).abs().max() < 1


def test_codes_are_nested(tiny: ModelConfig) -> None:
    """Each precision's signs agree: the 1-bit code is the top bit of the 4-bit code."""
    tensors = pack_network(quantised_network(tiny)[0])
    for layer in low_bit_layers(tiny):
        one, two, four = (low_bit_weights(tensors, layer, bits) for bits in (1, 2, 4))
        assert (np.sign(one) == np.sign(four)).all()
        assert (np.sign(two) == np.sign(four)).all()


def test_one_bit_file_holds_one_bit(tmp_path: Path, tiny: ModelConfig, description: ModelDescription) -> None:
    network, _ = quantised_network(tiny)
    packed = export_network(network, tmp_path / "model", dataclasses.replace(description, bits=(1,)))
    assert packed.tensors["blocks.0.ff1.up.planes"].shape[0] == 1
    assert not [name for name in packed.tensors if name.endswith(("scale2", "scale4"))]
    with pytest.raises(UnsupportedBitsError):
        network_from_packed(tmp_path / "model", 2)


def test_only_nested_codes_can_be_packed(tiny: ModelConfig) -> None:
    with pytest.raises(ModelFileError, match="nested"):
        pack_network(Conformer(tiny))
    network = Conformer(tiny)
    quantise(network, per_row=False, scheme="independent", private_norms=False)
    with pytest.raises(ModelFileError, match="nested"):
        pack_network(network)
