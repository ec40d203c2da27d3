"""Start the Conformer from the encoder of Whisper base, so that at step 0 it computes that encoder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from onebit_model.network.conformer import Block, Conformer
from onebit_model.network.layers import Linear

PREFIX = "model.encoder."
SILENT = 1e-6  # no weight of a layer that has learned is all below this
SILENT_SPREAD = 0.005  # a tenth of the spread of trained weights


def load_whisper_encoder(network: Conformer, path: Path) -> None:
    """Copy a published Whisper encoder into `network`; what Whisper lacks starts with zero output.

    Raises KeyError naming the tensor that the file lacks, RuntimeError when a shape differs.
    """
    tensors = {name: value.float() for name, value in load_file(path).items()}
    source = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    with torch.no_grad():
        for convolution, name in ((network.stem.conv1, "conv1"), (network.stem.conv2, "conv2")):
            taps_first = source[f"{name}.weight"].permute(0, 2, 1)
            convolution.weight.copy_(taps_first.flatten(1))
            convolution.bias.copy_(source[f"{name}.bias"])
        for index, block in enumerate(network.blocks):
            assert isinstance(block, Block)
            _load_block(block, source, f"layers.{index}.")
        _copy(network.final_norm, source, "layer_norm")


def _load_block(block: Block, source: dict[str, Tensor], prefix: str) -> None:
    attention = block.attention
    _copy(attention.norm, source, f"{prefix}self_attn_layer_norm")
    _copy(attention.query, source, f"{prefix}self_attn.q_proj")
    _copy(attention.key, source, f"{prefix}self_attn.k_proj")
    _copy(attention.value, source, f"{prefix}self_attn.v_proj")
    _copy(attention.output, source, f"{prefix}self_attn.out_proj")
    _copy(block.ff2.norm, source, f"{prefix}final_layer_norm")
    _copy(block.ff2.up, source, f"{prefix}fc1")
    _copy(block.ff2.down, source, f"{prefix}fc2")
    # The Conformer halves its feed-forward layers, Whisper does not.
    block.ff2.down.weight.mul_(2)
    block.ff2.down.bias.mul_(2)
    for silent in (block.ff1.down, block.convolution.project):
        nn.init.zeros_(silent.weight)
        nn.init.zeros_(silent.bias)


@torch.no_grad()
def wake_silent_layers(network: Conformer, parts: Sequence[str] = ("",)) -> None:
    """Give layers of zeros small random weights: codes of zeros have no size, and no gradient passes them.

    Of the layers whose names begin with one of `parts`; zeros that were kept in 8 bits are zeros but for a rounding.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, Linear) and name.startswith(tuple(parts)) and layer.weight.abs().max() < SILENT:
            nn.init.normal_(layer.weight, std=SILENT_SPREAD)


def _copy(module: nn.Linear | nn.LayerNorm, source: dict[str, Tensor], name: str) -> None:
    module.weight.copy_(source[f"{name}.weight"])
    if module.bias is not None:
        module.bias.copy_(source[f"{name}.bias"])
