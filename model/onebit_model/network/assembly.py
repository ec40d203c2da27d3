"""Networks from checkpoints: plain, pretrained or quantised."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError

from onebit_model.config import ModelConfig
from onebit_model.errors import RecipeError
from onebit_model.network.checkpoint import Checkpoint, load_mean
from onebit_model.network.conformer import Conformer
from onebit_model.network.pretrained import load_whisper
from onebit_model.network.quantizers import Precision, quantise
from onebit_model.network.whisper_file import is_whisper, read_whisper


def network_from_checkpoint(checkpoint: Checkpoint) -> tuple[Conformer, Precision | None]:
    """The network with the checkpoint's weights, and its precision switch when it is quantised."""
    network = Conformer(checkpoint.config)
    precision = None if checkpoint.quantize is None else quantise(network, **checkpoint.quantize)
    network.load_state_dict(checkpoint.network)
    return network, precision


def starting_network(
    starts: Sequence[Path], config: ModelConfig, seed: int, pieces: Sequence[int] = ()
) -> tuple[Conformer, Checkpoint | None]:
    """Random weights without a start; else Whisper (see `read_whisper`), a checkpoint or the mean of several.

    `pieces`: the rows of Whisper's embedding that a decoder takes, in its own order.
    """
    torch.manual_seed(seed)
    if not starts:
        return Conformer(config), None
    start = starts[-1]
    if is_whisper(start):
        network = Conformer(config)
        try:
            load_whisper(network, read_whisper(start), pieces)
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise RecipeError(f"{start}: not a Whisper of the recipe's size ({error})") from error
        return network, None
    checkpoint = load_mean(starts)
    if checkpoint.config != config:
        raise RecipeError(f"{start} holds another model size than the recipe: {checkpoint.config}")
    network, _ = network_from_checkpoint(checkpoint)
    return network, checkpoint
