"""A training checkpoint at full precision, through torch: the control of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from onebit_model.assembly import network_from_checkpoint
from onebit_model.decoding import text_of, words_from_tokens
from onebit_model.dev_scoring import greedy_tokens
from onebit_model.evaluation import Transcribe
from onebit_model.export import fp32_bytes, read_checkpoint
from onebit_model.feature_cache import pad_audio
from onebit_model.frontend import LogMel
from onebit_model.tensor_file import file_sha256
from onebit_model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Piece:
    """A decoded token without its time, which texts do not need."""

    id: int
    frame: int = 0
    frames: int = 1
    confidence: float = 1.0


@dataclass(frozen=True)
class FullPrecisionModel:
    transcribe: Transcribe
    model_bytes: int
    sha256: str


def full_precision_model(checkpoint_path: str | Path, chunk: int = 0) -> FullPrecisionModel:
    """Float32 weights and activations, one clip at a time, greedy; `chunk` masks attention as streaming does."""
    checkpoint = read_checkpoint(checkpoint_path)
    network, precision = network_from_checkpoint(checkpoint)
    if precision is not None:
        precision.bits, precision.activations = None, False
    network.eval().requires_grad_(False)
    vocabulary = Tokenizer(checkpoint.tokenizer).pieces
    front_end = LogMel()

    def transcribe(samples: npt.NDArray[np.float32]) -> str:
        if not len(samples):
            return ""
        scores, frames = network(*front_end(*pad_audio([samples])), chunk)
        pieces = [Piece(token) for token in greedy_tokens(scores[0], int(frames[0]))]
        return text_of(words_from_tokens(pieces, vocabulary))

    return FullPrecisionModel(torch.no_grad()(transcribe), fp32_bytes(checkpoint.config), file_sha256(checkpoint_path))
