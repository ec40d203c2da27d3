"""A training checkpoint at full precision, through torch: the control of every comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from onebit_kernels import BeamSearch, CtcSpelling, find_loop, find_repetition
from onebit_model.data.batching import pad_audio
from onebit_model.errors import ModelFileError, SearchOptionError
from onebit_model.evaluation.evaluation import Transcribe
from onebit_model.files.tensor_file import file_sha256
from onebit_model.network.assembly import network_from_checkpoint
from onebit_model.network.checkpoint import Checkpoint, load_checkpoint
from onebit_model.network.conformer import STEM_STRIDE, Conformer
from onebit_model.network.export import fp32_bytes
from onebit_model.network.frontend import LogMel
from onebit_model.network.greedy import Beginning, greedy_pieces, greedy_tokens
from onebit_model.recognition.segmentation import Segmenter
from onebit_model.text.decoding import text_of, words_from_tokens
from onebit_model.text.language_model import chosen_language_model
from onebit_model.text.piece_encoder import PieceEncoder
from onebit_model.text.search import Decoder, Search, SearchTools, chosen_search
from onebit_model.text.tokenizer import Tokenizer

TOGETHER = 8  # segments of one recording that are decoded together
MOST_REWRITTEN = 16  # as in the engine
Texts = Callable[[Tensor, Tensor], list[str]]
"""(segments, frames, d_model) and (segments,) valid frames -> a text of each."""


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


@dataclass(frozen=True)
class SearchChoice:
    """Beam, language model and decoder as a request names them; what is left out is what serves."""

    beam: int | None = None
    language_model: str = ""
    decoder: Decoder | None = None


def full_precision_model(
    checkpoint_path: str | Path, chunk: int = 0, choice: SearchChoice = SearchChoice()
) -> FullPrecisionModel:
    """Float32 weights and activations; `chunk` masks attention as streaming does.

    Audio is cut where the recognizer of a packed file cuts it, and segments are decoded by the same search. The
    attention decoder's is greedy here; CTC is asked what it has written twice, or past the end, and nobody about the
    rest.
    """
    checkpoint = load_checkpoint(Path(checkpoint_path))
    network, precision = network_from_checkpoint(checkpoint)
    if precision is not None:
        precision.bits, precision.activations = None, False
    network.eval().requires_grad_(False)
    tools = _tools(checkpoint, choice.language_model)
    search = chosen_search(choice.beam, (), tools, choice.decoder)
    if search.written is not None and search.written.beam > 1:
        raise SearchOptionError("beam", "the attention decoder is greedy at full precision: leave the beam out")
    texts = _writer(network, tools) if search.written is not None else _listener(network, tools, search)
    front_end = LogMel()

    def transcribe(samples: npt.NDArray[np.float32]) -> str:
        segmenter = Segmenter(search.is_written)
        cut = [*segmenter.push(samples), *segmenter.finish()]
        spoken = [segment.samples for segment in cut if not segment.is_silent]
        found: list[str] = []
        for start in range(0, len(spoken), TOGETHER):
            mel, mel_frames = front_end(*pad_audio(spoken[start : start + TOGETHER]))
            frames = mel_frames // (2 * STEM_STRIDE)
            hidden = network.lower(mel, mel_frames, chunk, network.config.average_after)
            found += texts(network.upper(hidden, frames, chunk), frames)
        return " ".join(text for text in found if text)

    sha256 = file_sha256(checkpoint_path)
    return FullPrecisionModel(torch.no_grad()(transcribe), search, fp32_bytes(checkpoint.config), sha256)


def _tools(checkpoint: Checkpoint, language_model: str) -> SearchTools:
    vocabulary = Tokenizer(checkpoint.tokenizer).pieces
    pieces = PieceEncoder.from_json(checkpoint.pieces).pieces if checkpoint.pieces else None
    return SearchTools(vocabulary, chosen_language_model(language_model, vocabulary), pieces)


def _writer(network: Conformer, tools: SearchTools) -> Texts:
    """Written texts of encoded segments, greedily."""
    decoder, pieces = network.decoder, tools.pieces
    if decoder is None or pieces is None:
        raise ModelFileError("the checkpoint has a decoder without its pieces, or pieces without a decoder")
    spelling = CtcSpelling(pieces.pieces, tools.vocabulary)

    def text(first: list[int], encoded: Tensor, frames: Tensor) -> str:
        scores = network.log_probabilities(encoded)[0].numpy()
        row, beginning = first, Beginning()
        while len(beginning.barred) < MOST_REWRITTEN and (end := _end_of_first(row, scores, spelling)) is not None:
            beginning = beginning.another(row, end)
            (row,) = greedy_pieces(decoder, encoded, frames, beginning=beginning)
        return pieces.text(row[: spelling.heard_pieces(scores, row)]).strip()

    def texts(encoded: Tensor, frames: Tensor) -> list[str]:
        rows = greedy_pieces(decoder, encoded, frames)
        return [text(r, e[None, : int(n)], n[None]) for r, e, n in zip(rows, encoded, frames, strict=True)]

    return texts


def _end_of_first(row: list[int], scores: npt.NDArray[np.float32], spelling: CtcSpelling) -> int | None:
    """Where a text must go on in another way: it says the same for ever, or what CTC has heard only once."""
    if loop := find_loop(row):
        return sum(loop)
    repetition = find_repetition(row)
    twice = spelling.align(scores, row)[2] if repetition else 0.0
    while repetition:
        first, length = repetition
        if spelling.align(scores, row[: first + length] + row[first + 2 * length :])[2] > twice:
            return first + length
        repetition = find_repetition(row, first + length)
    return None


def _listener(network: Conformer, tools: SearchTools, search: Search) -> Texts:
    """What the CTC head hears in encoded segments."""
    find = _finder(search)

    def texts(encoded: Tensor, frames: Tensor) -> list[str]:
        scores = network.log_probabilities(encoded)
        heard = [[Piece(token) for token in find(row[: int(n)])] for row, n in zip(scores, frames, strict=True)]
        return [text_of(words_from_tokens(tokens, tools.vocabulary)) for tokens in heard]

    return texts


def _finder(search: Search) -> Callable[[Tensor], list[int]]:
    """(frames, outputs) log-probabilities -> token ids."""
    if search.beam == 1:
        return lambda scores: greedy_tokens(scores, len(scores))

    def find(scores: Tensor) -> list[int]:
        decided, rest = BeamSearch(search.beam, scores.shape[1], None, search.language_model).advance(scores.numpy())
        return [token.id for token in decided + rest]

    return find
