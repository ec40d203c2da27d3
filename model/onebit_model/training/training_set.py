"""The clips that a recipe trains on, with what they are to become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from onebit_model.data.corpora import Utterance
from onebit_model.data.label_file import read_labels
from onebit_model.data.labels import written
from onebit_model.errors import RecipeError
from onebit_model.text.piece_encoder import PieceEncoder
from onebit_model.text.tokenizer import Tokenizer
from onebit_model.training.soft_labels import SoftLabelFile
from onebit_model.training.sources import output_frames
from onebit_model.training.targets import ClipTargets

AS_LABELLED = "words"  # as data.written: the label is the written text


@dataclass(frozen=True)
class TrainingSet:
    """`targets` are those of the utterances, in their order."""

    utterances: list[Utterance]
    targets: list[ClipTargets]

    @property
    def durations_seconds(self) -> list[float]:
        return [utterance.duration_seconds for utterance in self.utterances]


def written_texts(utterances: Sequence[Utterance], label_file: str, path: Callable[[str], Path]) -> list[str]:
    """The written text of each utterance, "" where none is known: of the label file, else as the corpus has it."""
    if label_file == AS_LABELLED:
        return [utterance.text for utterance in utterances]
    labels: Mapping[tuple[str, str], str] = read_labels(path(label_file)) if label_file else {}
    return [labels.get((u.corpus, u.id)) or (written(u.raw) if _is_written(u.raw) else "") for u in utterances]


def _is_written(raw: str) -> bool:
    """Not a transcript in capitals."""
    return raw != raw.upper()


def learnable(
    utterances: Sequence[Utterance],
    texts: Sequence[str],
    tokenizer: Tokenizer,
    encoder: PieceEncoder | None,
    machine_weight: float,
    soft: SoftLabelFile | None,
) -> TrainingSet:
    """The clips that have more frames than tokens, with their targets; raises RecipeError if there are none."""
    kept, targets = [], []
    for utterance, text in zip(utterances, texts, strict=True):
        tokens = _tokens(tokenizer, utterance)
        if output_frames(utterance.duration_seconds) <= len(tokens):
            continue
        silent = not utterance.text
        pieces = None if encoder is None or not (text or silent) else tuple(encoder.encode(f" {text}" if text else ""))
        weight = machine_weight if utterance.labels == "machine" else 1.0
        labels = soft.labels(utterance, pieces) if soft is not None and pieces else None
        kept.append(utterance)
        targets.append(ClipTargets(torch.tensor(tokens, dtype=torch.int64), pieces, weight, labels))
    if not any(utterance.text for utterance in kept):
        raise RecipeError("no clip of data.train is long enough for its text")
    return TrainingSet(kept, targets)


def _tokens(tokenizer: Tokenizer, utterance: Utterance) -> list[int]:
    try:
        return tokenizer.encode(utterance.text)
    except ValueError as error:
        raise RecipeError(f"{utterance.corpus}: utterance {utterance.id}: {error}") from error
