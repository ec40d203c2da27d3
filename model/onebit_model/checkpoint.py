"""Training state on disk: written to a temporary name first, so that a kill never leaves half a file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onebit_model.config import ModelConfig

STATE_NAME = "state.pt"  # with the optimiser: to go on from
WEIGHTS_NAME = "weights.pt"  # float16, of a finished stage
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


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically."""
    temporary = path.with_suffix(".tmp")
    torch.save({"format": FORMAT, **_fields(checkpoint)}, temporary)
    temporary.replace(path)


def _fields(checkpoint: Checkpoint) -> dict[str, Any]:
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    return fields | {"config": asdict(checkpoint.config)}


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises ValueError when the file is no training checkpoint. float16 weights become float32."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(stored, dict) or stored.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not an onebit training checkpoint")
    stored["config"] = ModelConfig(**stored["config"])
    stored["network"] = {name: value.float() for name, value in stored["network"].items()}
    return Checkpoint(**stored)


def save_weights(path: Path, checkpoint: Checkpoint) -> None:
    """The same without optimiser state, in float16: what a later training starts from."""
    halves = {name: value.half() for name, value in checkpoint.network.items()}
    save_checkpoint(
        path,
        Checkpoint(
            checkpoint.config,
            halves,
            checkpoint.tokenizer,
            checkpoint.step,
            checkpoint.recipe,
            checkpoint.quantize,
            {},
        ),
    )
