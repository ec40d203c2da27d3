"""A training checkpoint at full precision, through torch: the control of every comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from onebit_kernels import BeamSearch
from onebit_model.data.batching import pad_audio
from onebit_model.evaluation.evaluation import Transcribe
from onebit_model.files.tensor_file import file_sha256
from onebit_model.network.assembly import network_from_checkpoint
from onebit_model.network.checkpoint import load_checkpoint
from onebit_model.network.export import fp32_bytes
from onebit_model.network.frontend import LogMel
from onebit_model.network.greedy import greedy_tokens
from onebit_model.recognition.segmentation import AudioSegment, Segmenter
from onebit_model.text.decoding import Word, text_of, words_from_tokens
from onebit_model.text.language_model import chosen_language_model
from onebit_model.text.search import Search, SearchTools, chosen_search
from onebit_model.text.tokenizer import Tokenizer


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
    search: Search
    model_bytes: int
    sha256: str


def full_precision_model(
    checkpoint_path: str | Path, chunk: int = 0, beam: int | None = None, language_model: str = ""
) -> FullPrecisionModel:
    """Float32 weights and activations; `chunk` masks attention as streaming does.

    Audio is cut where the recognizer of a packed file cuts it; `beam` and `language_model` choose the same search.
    """
    checkpoint = load_checkpoint(Path(checkpoint_path))
    network, precision = network_from_checkpoint(checkpoint)
    if precision is not None:
        precision.bits, precision.activations = None, False
    network.eval().requires_grad_(False)
    vocabulary = Tokenizer(checkpoint.tokenizer).pieces
    front_end = LogMel()
    search = chosen_search(beam, (), SearchTools(vocabulary, chosen_language_model(language_model, vocabulary)))
    find = _finder(search)

    def heard(segment: AudioSegment) -> list[Word]:
        scores, frames = network(*front_end(*pad_audio([segment.samples])), chunk)
        pieces = [Piece(token) for token in find(scores[0, : int(frames[0])])]
        return words_from_tokens(pieces, vocabulary)

    def transcribe(samples: npt.NDArray[np.float32]) -> str:
        segmenter = Segmenter()
        segments = [*segmenter.push(samples), *segmenter.finish()]
        return text_of(word for segment in segments if not segment.is_silent for word in heard(segment))

    sha256 = file_sha256(checkpoint_path)
    return FullPrecisionModel(torch.no_grad()(transcribe), search, fp32_bytes(checkpoint.config), sha256)


def _finder(search: Search) -> Callable[[torch.Tensor], list[int]]:
    """(frames, outputs) log-probabilities -> token ids."""
    if search.beam == 1:
        return lambda scores: greedy_tokens(scores, len(scores))

    def find(scores: torch.Tensor) -> list[int]:
        decided, rest = BeamSearch(search.beam, scores.shape[1], None, search.language_model).advance(scores.numpy())
        return [token.id for token in decided + rest]

    return find
