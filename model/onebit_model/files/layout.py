"""Which tensors a packed file holds, with their shapes and dtypes, derived from the configuration.

A low-bit layer computes Y[m, n] = sum_k X[m, k] * W[n, k]; every matrix here is (outputs N, inputs K).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onebit_model.config import ModelConfig
from onebit_model.files.allocation import EMBEDDING, Allocation

CODE_BITS = 4
POSITIONS = "decoder.positions"
PIECES = "decoder.pieces"
PIECE_ENDS = "decoder.piece_ends"
NESTED = Allocation()


@dataclass(frozen=True)
class LowBitLayer:
    """A Linear or pointwise convolution whose weights are nested 1/2/4-bit codes."""

    name: str
    outputs: int
    inputs: int
    has_bias: bool = True


@dataclass(frozen=True)
class Int8Layer:
    """A layer kept at 8 bits per weight, one scale per output row."""

    name: str
    outputs: int
    inputs: int


@dataclass(frozen=True)
class TensorSpec:
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


def low_bit_layers(config: ModelConfig) -> Iterator[LowBitLayer]:
    d = config.d_model
    for i in range(config.blocks):
        block = f"blocks.{i}"
        yield LowBitLayer(f"{block}.ff1.up", config.feed_forward1, d)
        yield LowBitLayer(f"{block}.ff1.down", d, config.feed_forward1)
        yield from _attention_layers(f"{block}.attention", d)
        yield LowBitLayer(f"{block}.convolution.expand", 2 * d, d)
        yield LowBitLayer(f"{block}.convolution.project", d, d)
        yield LowBitLayer(f"{block}.ff2.up", config.feed_forward2, d)
        yield LowBitLayer(f"{block}.ff2.down", d, config.feed_forward2)
    yield from _decoder_layers(config)


def _attention_layers(name: str, d: int) -> Iterator[LowBitLayer]:
    yield LowBitLayer(f"{name}.query", d, d)
    yield LowBitLayer(f"{name}.key", d, d, has_bias=False)
    yield LowBitLayer(f"{name}.value", d, d)
    yield LowBitLayer(f"{name}.output", d, d)


def _decoder_layers(config: ModelConfig) -> Iterator[LowBitLayer]:
    d = config.d_model
    for i in range(config.decoder_blocks):
        block = f"decoder.blocks.{i}"
        yield from _attention_layers(f"{block}.self_attention", d)
        yield from _attention_layers(f"{block}.cross_attention", d)
        yield LowBitLayer(f"{block}.feed_forward.up", config.decoder_feed_forward, d)
        yield LowBitLayer(f"{block}.feed_forward.down", d, config.decoder_feed_forward)
    if config.has_decoder:
        yield LowBitLayer(EMBEDDING, config.decoder_vocabulary_size, d, has_bias=False)


def int8_layers(config: ModelConfig) -> Iterator[Int8Layer]:
    """Convolutions of the stem are tap-major matrices: column = tap * channels + channel."""
    d = config.d_model
    yield Int8Layer("stem.conv1", d, 3 * config.mel_bins)
    yield Int8Layer("stem.conv2", d, 3 * d)
    for i in range(config.blocks):
        yield Int8Layer(f"blocks.{i}.convolution.depthwise", d, config.convolution_kernel)
    yield Int8Layer("head", config.outputs, d)


def norms(config: ModelConfig) -> Iterator[str]:
    for i in range(config.blocks):
        for part in ("ff1.norm", "attention.norm", "convolution.norm", "convolution.inner_norm", "ff2.norm"):
            yield f"blocks.{i}.{part}"
    yield "final_norm"
    for i in range(config.decoder_blocks):
        for part in ("self_attention.norm", "cross_attention.norm", "feed_forward.norm"):
            yield f"decoder.blocks.{i}.{part}"
    if config.has_decoder:
        yield "decoder.norm"


def _spec(dtype: npt.DTypeLike, *shape: int) -> TensorSpec:
    return TensorSpec(np.dtype(dtype), shape)


def tensor_specs(config: ModelConfig, bits: Sequence[int], allocation: Allocation = NESTED) -> dict[str, TensorSpec]:
    """Every tensor that a file of these precisions must hold, except the norms (see `norm_specs`) and the pieces."""
    specs: dict[str, TensorSpec] = {}
    for layer in low_bit_layers(config):
        n = layer.outputs
        used = allocation.used(layer.name, bits)
        specs[f"{layer.name}.planes"] = _spec(np.uint8, max(used), n, (layer.inputs + 7) // 8)
        for planes in sorted(used):
            specs[f"{layer.name}.scale{planes}"] = _spec(np.float16, n)
        if layer.has_bias:
            specs[f"{layer.name}.bias"] = _spec(np.float16, n)
    for matrix in int8_layers(config):
        specs[f"{matrix.name}.int8"] = _spec(np.int8, matrix.outputs, matrix.inputs)
        specs[f"{matrix.name}.scale8"] = _spec(np.float16, matrix.outputs)
        specs[f"{matrix.name}.bias"] = _spec(np.float16, matrix.outputs)
    if config.has_decoder:
        specs[POSITIONS] = _spec(np.float16, config.decoder_positions, config.d_model)
    return specs


def piece_specs(config: ModelConfig, pieces_bytes: int) -> dict[str, TensorSpec]:
    """The decoder's pieces of text: their bytes one after the other, and where each ends."""
    if not config.has_decoder:
        return {}
    return {PIECES: _spec(np.uint8, pieces_bytes), PIECE_ENDS: _spec(np.uint32, config.decoder_vocabulary_size)}


def norm_specs(config: ModelConfig, bits: Sequence[int], names: set[str]) -> dict[str, TensorSpec]:
    """Specs of the norms among `names`: shared by all precisions, or private with the precision as suffix.

    A norm is private if any suffixed tensor of it is present; it must then be complete for every precision,
    where a shared tensor beside it stands in for a precision that has none of its own.
    """
    spec = _spec(np.float16, config.d_model)
    specs: dict[str, TensorSpec] = {}
    for norm in norms(config):
        for part in ("weight", "bias"):
            shared = f"{norm}.{part}"
            private = {f"{shared}{b}" for b in bits}
            present = private & names
            if shared in names or not present:
                present.add(shared)
            else:
                present = private
            specs.update(dict.fromkeys(sorted(present), spec))
    return specs


def pack_planes(codes: npt.NDArray[np.uint8], planes: int) -> npt.NDArray[np.uint8]:
    """4-bit codes (N, K) -> the most significant `planes` bit planes (planes, N, ceil(K/8)).

    Plane 0 is the most significant bit; bit i of byte j belongs to column 8*j + i; padding bits are 0.
    """
    bits = [(codes >> (CODE_BITS - 1 - p)) & 1 for p in range(planes)]
    return np.stack([np.packbits(b, axis=1, bitorder="little") for b in bits])


def unpack_planes(planes: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.uint8]:
    """Bit planes (P, N, ceil(K/8)) -> codes (N, K) of P bits: the inverse of `pack_planes` for P = 4."""
    bits = np.unpackbits(planes, axis=2, count=columns, bitorder="little")
    codes = np.zeros(bits.shape[1:], np.uint8)
    for plane in bits:
        codes = (codes << 1) | plane
    return codes


def code_values(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.float32]:
    """Codes of `bits` bits -> the multiples of the scale that they stand for, as in the quantizers' definition."""
    if bits == 1:
        return 2 * codes.astype(np.float32) - 1
    return codes.astype(np.float32) - (7.5 if bits == 4 else 1.5)


def low_bit_weights(
    tensors: Mapping[str, npt.NDArray[np.generic]], layer: LowBitLayer, planes: int
) -> npt.NDArray[np.float32]:
    """The weights (N, K) float32 that the first 1, 2 or 4 planes of a packed layer stand for."""
    used = np.asarray(tensors[f"{layer.name}.planes"], np.uint8)[:planes]
    scale = tensors[f"{layer.name}.scale{planes}"].astype(np.float32)
    return scale[:, None] * code_values(unpack_planes(used, layer.inputs), planes)
