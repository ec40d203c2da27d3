"""From a trained network to the packed file, and from a packed file back to a network (torch side).

Scales, biases and norms are rounded to float16 here, once; whoever wants to know what the engine computes
loads the packed file with `network_from_packed`, not the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from onebit_model.config import PRECISIONS, ModelConfig
from onebit_model.errors import ModelFileError
from onebit_model.files.allocation import Allocation, default_planes
from onebit_model.files.layout import (
    PIECE_ENDS,
    PIECES,
    POSITIONS,
    int8_layers,
    low_bit_layers,
    low_bit_weights,
    norms,
    pack_planes,
)
from onebit_model.files.packed import ModelDescription, PackedModel, read_packed, write_packed
from onebit_model.files.tensor_file import Tensors, file_sha256
from onebit_model.network.assembly import network_from_checkpoint
from onebit_model.network.checkpoint import load_checkpoint, load_mean, save_eight_bits, save_weights
from onebit_model.network.conformer import Conformer
from onebit_model.network.quantizers import (
    PrivateLayerNorm,
    QuantEmbedding,
    QuantLinear,
    codes4,
    quantise,
    round_int8_rows,
)
from onebit_model.network.scale_fitting import fit_scales
from onebit_model.text.piece_encoder import PieceEncoder
from onebit_model.text.pieces import Pieces
from onebit_model.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Exported:
    packed: PackedModel
    fp32_bytes: int


def allocation_of(network: nn.Module, bits: Sequence[int] = PRECISIONS) -> Allocation:
    """Where a quantised network uses more or fewer planes than is the default at a precision."""
    exceptions: dict[int, dict[str, int]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, QuantLinear | QuantEmbedding):
            for b in bits:
                if layer.planes[b] != default_planes(name, b):
                    exceptions.setdefault(b, {})[name] = layer.planes[b]
    return Allocation(exceptions)


def pack_network(network: Conformer, bits: Sequence[int] = PRECISIONS) -> Tensors:
    """Every tensor of the packed file but the pieces of the decoder, from a network with nested quantizers."""
    tensors: Tensors = {}
    allocation = allocation_of(network, bits)
    with torch.no_grad():
        for low_bit in low_bit_layers(network.config):
            layer = network.get_submodule(low_bit.name)
            if not _is_nested(layer):
                raise ModelFileError(f"{low_bit.name} has no nested quantizer: only nested codes can be packed")
            tensors |= _pack_low_bit(low_bit.name, layer, allocation.used(low_bit.name, bits))
        for matrix in int8_layers(network.config):
            tensors |= _pack_int8(matrix.name, network.get_submodule(matrix.name))
        for norm in norms(network.config):
            tensors |= _pack_norm(norm, network.get_submodule(norm), bits)
        if network.decoder is not None:
            tensors[POSITIONS] = _half(network.decoder.positions)
    return tensors


def export_network(
    network: Conformer, path: str | Path, description: ModelDescription, pieces: Pieces | None = None
) -> PackedModel:
    """Writes the precisions of `description` and reads the file back, so that what is returned has been checked.

    The allocation is the network's own; `pieces` are those of its decoder.
    """
    tensors = pack_network(network, description.bits)
    if pieces is not None:
        tensors[PIECES], tensors[PIECE_ENDS] = pieces.arrays()
    write_packed(path, replace(description, allocation=allocation_of(network, description.bits)), tensors)
    return read_packed(path)


def export_checkpoint(
    checkpoint_path: str | Path,
    path: str | Path,
    bits: Sequence[int] = PRECISIONS,
    wer: Mapping[str, object] | None = None,
) -> Exported:
    """`onebit export`: from a file of the trainer; a network that was never quantised gets the best scales per row."""
    checkpoint = load_checkpoint(Path(checkpoint_path))
    network, precision = network_from_checkpoint(checkpoint)
    if precision is None:
        quantise(network, per_row=True, scheme="nested", private_norms=False)
        fit_scales(network)
    description = ModelDescription(
        config=checkpoint.config,
        vocabulary=tuple(Tokenizer(checkpoint.tokenizer).pieces),
        bits=tuple(bits),
        training={"step": checkpoint.step, "recipe": checkpoint.recipe, "quantize": checkpoint.quantize},
        checkpoint_sha256=file_sha256(checkpoint_path),
        wer=wer or {},
    )
    pieces = PieceEncoder.from_json(checkpoint.pieces).pieces if checkpoint.pieces else None
    return Exported(export_network(network, path, description, pieces), fp32_bytes(checkpoint.config))


def keep_checkpoint(checkpoint_path: str | Path, path: str | Path) -> int:
    """`onebit export ... NAME.pt`: the same weights in 8 bits, for a repository; returns the file's bytes."""
    save_eight_bits(Path(path), load_checkpoint(Path(checkpoint_path)))
    return Path(path).stat().st_size


def average_checkpoints(paths: Sequence[str | Path], path: str | Path) -> None:
    """`onebit average`: the mean of several checkpoints, as weights to export or to train on from."""
    save_weights(Path(path), load_mean([Path(p) for p in paths]))


def fp32_bytes(config: ModelConfig) -> int:
    """Size of the plain network's weights in float32: what compression is measured against."""
    with torch.device("meta"):
        return sum(4 * parameter.numel() for parameter in Conformer(config).parameters())


def _is_nested(layer: nn.Module) -> TypeGuard[QuantLinear | QuantEmbedding]:
    return isinstance(layer, QuantEmbedding) or (isinstance(layer, QuantLinear) and layer.scheme == "nested")


def _pack_low_bit(name: str, layer: QuantLinear | QuantEmbedding, used_planes: Iterable[int]) -> Tensors:
    codes = codes4(layer.weight, layer.scale(4)).to(torch.uint8).numpy()
    tensors: Tensors = {f"{name}.planes": pack_planes(codes, max(used_planes))}
    for planes in used_planes:
        tensors[f"{name}.scale{planes}"] = _half(layer.scale(planes).reshape(-1).expand(len(codes)))
    if isinstance(layer, QuantLinear) and layer.bias is not None:
        tensors[f"{name}.bias"] = _half(layer.bias)
    return tensors


def _pack_int8(name: str, layer: nn.Module) -> Tensors:
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    codes, scale = round_int8_rows(weight)
    return {
        f"{name}.int8": codes.to(torch.int8).numpy(),
        f"{name}.scale8": _half(scale),
        f"{name}.bias": _half(bias),
    }


def _pack_norm(name: str, layer: nn.Module, bits: Sequence[int]) -> Tensors:
    suffixes = [str(b) for b in bits] if isinstance(layer, PrivateLayerNorm) else [""]
    return {f"{name}.{part}{s}": _half(layer.get_parameter(part + s)) for part in ("weight", "bias") for s in suffixes}


def _half(values: Tensor) -> npt.NDArray[np.float16]:
    return values.detach().to(torch.float16).contiguous().numpy()


def network_from_packed(path: str | Path, bits: int, *, activations: bool = True) -> Conformer:
    """A network in evaluation mode with exactly the weights that `bits` of a packed file stands for.

    With `activations` the inputs of the quantised layers are rounded to int8, as the engine does.
    """
    packed = read_packed(path)
    packed.require(bits)
    network = Conformer(packed.config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in _state(packed, bits).items()})
    precision = quantise(network, per_row=True, scheme="nested", private_norms=False)
    # The loaded weights are quantised values already: the layers must take them as they are.
    precision.bits = None
    precision.activations = activations
    return network.eval().requires_grad_(False)


def _state(packed: PackedModel, bits: int) -> Mapping[str, npt.NDArray[np.float32]]:
    state: dict[str, npt.NDArray[np.float32]] = {}
    tensors, allocation = packed.tensors, packed.description.allocation
    for layer in low_bit_layers(packed.config):
        state[f"{layer.name}.weight"] = low_bit_weights(tensors, layer, allocation.planes(layer.name, bits))
        if layer.has_bias:
            state[f"{layer.name}.bias"] = tensors[f"{layer.name}.bias"].astype(np.float32)
    for matrix in int8_layers(packed.config):
        scale = tensors[f"{matrix.name}.scale8"].astype(np.float32)
        state[f"{matrix.name}.weight"] = scale[:, None] * tensors[f"{matrix.name}.int8"].astype(np.float32)
        state[f"{matrix.name}.bias"] = tensors[f"{matrix.name}.bias"].astype(np.float32)
    for norm in norms(packed.config):
        for part in ("weight", "bias"):
            private = tensors.get(f"{norm}.{part}{bits}")
            chosen = tensors[f"{norm}.{part}"] if private is None else private
            state[f"{norm}.{part}"] = chosen.astype(np.float32)
    if packed.config.has_decoder:
        state[POSITIONS] = tensors[POSITIONS].astype(np.float32)
    return state
