"""What Whisper, hearing a clip as it was trained to, makes of every piece of its text: soft labels, made once.

They keep a network that starts from Whisper near it while it learns to do with less: no padding, half the frames.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from onebit_model.data.corpora import Utterance
from onebit_model.errors import RecipeError
from onebit_model.network.conformer import Conformer
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.network.pretrained import WHISPER_SAMPLES, whisper_encoding
from onebit_model.training.sources import ClipStore
from onebit_model.training.targets import ClipTargets, SoftLabels, piece_targets

LIKELIEST = 8
CLIPS = 64  # at once


class SoftLabelFile:
    """Rows of `LIKELIEST` pieces and probabilities, one after the other, by corpus and id."""

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(path, "numpy") as file:
                self._pieces: NDArray[np.uint16] = file.get_tensor("pieces")
                self._probabilities: NDArray[np.float16] = file.get_tensor("probabilities")
                names = json.loads(file.metadata()["clips"])
        except OSError as error:
            raise RecipeError(f"{path}: soft labels cannot be read: {error}") from error
        self._spans: dict[tuple[str, str], tuple[int, int]] = {}
        start = 0
        for corpus, name, rows in names:
            self._spans[corpus, name] = (start, start + rows)
            start += rows

    def labels(self, utterance: Utterance, pieces: Sequence[int]) -> SoftLabels | None:
        """Those of a clip, None if the file has none; raises RecipeError if they are of another text."""
        span = self._spans.get((utterance.corpus, utterance.id))
        if span is None:
            return None
        if span[1] - span[0] != len(pieces) + 1:
            raise RecipeError(f"soft labels of {utterance.corpus} {utterance.id} are of another text: make them anew")
        rows = slice(*span)
        return SoftLabels(self._pieces[rows].astype(np.int64), self._probabilities[rows].astype(np.float32))


def write_soft_labels(
    path: Path, whisper: Conformer, clips: ClipStore, utterances: Sequence[Utterance], targets: Sequence[ClipTargets]
) -> None:
    """Runs Whisper as loaded over every clip with a written text, and writes the file."""
    chosen = [index for index, target in enumerate(targets) if target.pieces]
    pieces, probabilities, names = [], [], []
    for start in range(0, len(chosen), CLIPS):
        batch = chosen[start : start + CLIPS]
        rows, shares = _likeliest(whisper, clips, batch, targets)
        pieces.append(rows)
        probabilities.append(shares)
        names += [(utterances[i].corpus, utterances[i].id, len(targets[i].pieces or ()) + 1) for i in batch]
    save_file(
        {"pieces": np.concatenate(pieces), "probabilities": np.concatenate(probabilities)},
        path,
        {"clips": json.dumps(names)},
    )


@torch.no_grad()
def _likeliest(
    whisper: Conformer, clips: ClipStore, indices: Sequence[int], targets: Sequence[ClipTargets]
) -> tuple[NDArray[np.uint16], NDArray[np.float16]]:
    assert whisper.decoder is not None
    device = clips.device
    told = piece_targets(
        [targets[i] for i in indices], len(whisper.decoder.embedding.weight), 0.0, np.random.default_rng(0)
    )
    assert told is not None
    due = int((told.weights > 0).sum())
    with mixed_precision(device):
        encoded = whisper_encoding(whisper, padded_clips(clips, indices))
        frames = torch.full((len(indices),), encoded.shape[1], device=device)
        hidden = whisper.decoder(told.inputs.to(device), encoded, frames)
        logits = whisper.decoder.embedding.logits(hidden.flatten(0, 1)[told.positions[:due].to(device)])
    best = logits.float().softmax(dim=-1).topk(min(LIKELIEST, logits.shape[1]), dim=-1)
    shares = best.values / best.values.sum(dim=-1, keepdim=True)
    return best.indices.cpu().numpy().astype(np.uint16), shares.cpu().numpy().astype(np.float16)


def padded_clips(clips: ClipStore, indices: Sequence[int]) -> Tensor:
    """(clips, samples) float32 on the store's device, zeros behind shorter ones."""
    audio = torch.zeros(len(indices), WHISPER_SAMPLES, device=clips.device)
    for row, index in zip(audio, indices, strict=True):
        clip = clips.clip(index)
        row[: len(clip)] = clip
    return audio
