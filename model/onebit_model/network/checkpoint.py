"""Training state on disk."""

import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onebit_model.config import ModelConfig
from onebit_model.errors import DamagedFileError, ModelFileError
from onebit_model.files.whole_file import whole_file

STATE_NAME = "state.pt"  # with the optimiser: to go on from
WEIGHTS_NAME = "weights.pt"  # float16, of a finished stage
STEP = ".step"  # after the name of a matrix: the steps of its 8-bit codes
FORMAT = "onebit-training"


@dataclass(frozen=True)
class Checkpoint:
    """A network with what is needed to go on: `optimizer` is empty in exported weights."""

    config: ModelConfig
    network: dict[str, Tensor]
    tokenizer: bytes
    step: int
    recipe: str
    quantize: dict[str, Any] | None  # how `quantizers.quantise` was called, None for a plain network
    optimizer: dict[str, Any]
    pieces: str = ""  # of the decoder, as `PieceEncoder.to_json` writes them


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically."""
    with whole_file(path) as file:
        torch.save({"format": FORMAT, **_fields(checkpoint)}, file)


def _fields(checkpoint: Checkpoint) -> dict[str, Any]:
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    return fields | {"config": asdict(checkpoint.config)}


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises ModelFileError when the file is no training checkpoint. float16 weights become float32."""
    try:
        _check_sums(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(stored, dict) or stored.pop("format", None) != FORMAT:
            raise ModelFileError(f"{path}: not a training checkpoint")
        stored["config"] = ModelConfig(**stored["config"])
        stored["network"] = {name: value.float() for name, value in from_eight_bits(stored["network"]).items()}
        return Checkpoint(**stored)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, LookupError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ModelFileError(f"{path}: not a training checkpoint, or a damaged one") from error


def _check_sums(path: Path) -> None:
    """A checkpoint is a zip archive with a checksum of every member, which torch does not look at."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, RuntimeError, EOFError) as error:
        raise DamagedFileError(f"{path}: damaged: {error}") from error
    if damaged:
        raise DamagedFileError(f"{path}: damaged: the bytes of {damaged} are not those that were written")


def save_weights(path: Path, checkpoint: Checkpoint) -> None:
    """The same without optimiser state, in float16: what a later training starts from."""
    halves = {name: value.half() for name, value in checkpoint.network.items()}
    save_checkpoint(path, replace(checkpoint, network=halves, optimizer={}))


def save_eight_bits(path: Path, checkpoint: Checkpoint) -> None:
    """Weights for keeping: a quarter of float32, and every nested code of a quantised network is the same again."""
    network = to_eight_bits(checkpoint.network)
    save_checkpoint(path, replace(checkpoint, network=network, optimizer={}))


def average(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The mean of the weights (Izmailov et al., 2018), with everything else of the last one.

    They must be of one network and one quantizer; `load_mean` checks that.
    """
    last = checkpoints[-1]
    network = {
        name: torch.stack([checkpoint.network[name] for checkpoint in checkpoints]).mean(dim=0)
        if value.is_floating_point()
        else value
        for name, value in last.network.items()
    }
    return replace(last, network=network, optimizer={})


def load_mean(paths: Sequence[Path]) -> Checkpoint:
    """The mean of checkpoints in files; raises ModelFileError for those of different networks or quantizers."""
    checkpoints = [load_checkpoint(path) for path in paths]
    last = checkpoints[-1]
    for path, checkpoint in zip(paths, checkpoints, strict=True):
        if (checkpoint.config, checkpoint.quantize) != (last.config, last.quantize):
            raise ModelFileError(f"{path} and {paths[-1]} are of different networks or quantizers and have no mean")
    return average(checkpoints)


def to_eight_bits(network: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as codes c of value (c - 127.5) * step, a step per row; no code is zero, so signs survive.

    A layer with a nested quantizer takes s4 / 16 as its step: the top four bits of a code are its 4-bit code.
    """
    stored = dict(network)
    for name, value in network.items():
        if value.ndim != 2 or "log_scale" in name:
            continue
        log_scale4 = network.get(name.removesuffix("weight") + "log_scale4")
        if log_scale4 is None:
            step = (value.abs().amax(dim=1, keepdim=True) / 127.5).clamp(min=1e-12)
        else:
            step = log_scale4.exp() / 16
        stored[name] = (torch.floor(value / step) + 128).clamp(0, 255).to(torch.uint8)
        stored[name + STEP] = step
    return stored


def from_eight_bits(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse; other tensors pass through."""
    steps = {name.removesuffix(STEP): value for name, value in stored.items() if name.endswith(STEP)}
    return {
        name: (value.float() - 127.5) * steps[name] if name in steps else value
        for name, value in stored.items()
        if not name.endswith(STEP)
    }
