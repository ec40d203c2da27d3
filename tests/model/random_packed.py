"""Tiny packed models with random weights, and networks that become such, shared by the tests of the packed file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from onebit_model.config import ModelConfig
from onebit_model.files.allocation import Allocation
from onebit_model.files.layout import (
    NESTED,
    PIECE_ENDS,
    PIECES,
    low_bit_layers,
    norm_specs,
    norms,
    pack_planes,
    tensor_specs,
)
from onebit_model.files.packed import Tensors
from onebit_model.network.conformer import Conformer
from onebit_model.network.quantizers import Precision, quantise
from onebit_model.text.pieces import SINGLE_BYTES, SPECIALS, Pieces

TINY = ModelConfig(
    mel_bins=20,
    d_model=32,
    heads=2,
    blocks=2,
    feed_forward1=64,
    feed_forward2=80,
    convolution_kernel=5,
    average_after=1,
    vocabulary_size=6,
    max_positions=100,
)
VOCABULARY = ("\u2581", "\u2581a", "b", "c", "\u2581the", "'")

WRITTEN = Pieces((*[b""] * len(SPECIALS), *SINGLE_BYTES, *(b" " + bytes([letter]) for letter in b"ABCDEFabcd")))
WRITING = replace(
    TINY, decoder_blocks=2, decoder_feed_forward=48, decoder_vocabulary_size=len(WRITTEN), decoder_positions=40
)
# One matrix with more planes than bits at two precisions, one with fewer; the embedding with fewer than its four.
ALLOCATION = Allocation(
    {
        1: {"blocks.0.attention.key": 4, "decoder.blocks.1.feed_forward.down": 2, "decoder.embedding": 2},
        2: {"blocks.0.attention.key": 4},
        4: {"decoder.blocks.0.cross_attention.value": 2},
    }
)


def random_tensors(
    bits: tuple[int, ...] = (1, 2, 4),
    private_norms: bool = False,
    config: ModelConfig = TINY,
    allocation: Allocation = NESTED,
) -> Tensors:
    """What a packed file of these precisions holds; with private norms only those of the first of them."""
    generator = np.random.default_rng(7)
    private = {f"{norm}.{part}{bits[0]}" for norm in norms(config) for part in ("weight", "bias")}
    names = private if private_norms else set()
    tensors: Tensors = {}
    for name, spec in (tensor_specs(config, bits, allocation) | norm_specs(config, bits, names)).items():
        if spec.dtype == np.float16:
            tensors[name] = generator.uniform(0.01, 1, spec.shape).astype(np.float16)
        else:
            tensors[name] = generator.integers(-127, 127, spec.shape, np.int8, endpoint=True).astype(spec.dtype)
    for layer in low_bit_layers(config):
        codes = generator.integers(0, 16, (layer.outputs, layer.inputs), np.uint8)
        tensors[f"{layer.name}.planes"] = pack_planes(codes, max(allocation.used(layer.name, bits)))
    if config.has_decoder:
        tensors[PIECES], tensors[PIECE_ENDS] = WRITTEN.arrays()
    return tensors


def quantised_network(
    config: ModelConfig, *, per_row: bool = False, private_norms: bool = False
) -> tuple[Conformer, Precision]:
    """A network with nested quantizers and every kind of parameter off its start."""
    torch.manual_seed(3)
    network = Conformer(config).eval()
    precision = quantise(network, per_row=per_row, scheme="nested", private_norms=private_norms)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name or "scale" in name or "bias" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network, precision
