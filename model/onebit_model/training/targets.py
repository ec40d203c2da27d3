"""What a batch is to become: tokens of the CTC head, pieces of the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onebit_model.data.batching import Item
from onebit_model.text.pieces import END, FIRST_BYTE, NO_SPEECH, PROMPT

PIECE_GRID = 8  # matrix products of few different sizes, as for frames
POSITION_GRID = 64


@dataclass(frozen=True)
class SoftLabels:
    """A teacher's likeliest pieces where each piece of a text is due, and where its end is."""

    pieces: NDArray[np.int64]  # (pieces + 1, k)
    probabilities: NDArray[np.float32]  # (pieces + 1, k), rows sum to 1


@dataclass(frozen=True)
class ClipTargets:
    """`pieces` is None where no written text is known: such a clip teaches the CTC head alone."""

    tokens: Tensor  # (tokens,) int64
    pieces: tuple[int, ...] | None
    weight: float = 1.0
    soft: SoftLabels | None = None


@dataclass(frozen=True)
class PieceTargets:
    """Rows of the decoder's input and the places in it where a piece is learned.

    `positions` index the flattened (batch * length) input; there `labels` are due, or `soft` of them.
    """

    inputs: Tensor  # (batch, length) int64
    positions: Tensor  # (n,) int64
    labels: Tensor  # (n,) int64
    weights: Tensor  # (n,) float32, 0 for padding
    spoken: Tensor  # (n,) bool: due in a clip with words, where Whisper is a teacher
    soft_pieces: Tensor | None = None  # (n, k) int64
    soft_probabilities: Tensor | None = None  # (n, k) float32

    def to(self, device: torch.device) -> PieceTargets:
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items() if value is not None}
        return replace(self, **moved)


def item_targets(item: Item, clips: Sequence[ClipTargets]) -> ClipTargets:
    """Of clips heard one after the other; those without words say nothing beside others."""
    parts = [clips[index] for index in item]
    tokens = torch.cat([part.tokens for part in parts])
    weight = min(part.weight for part in parts)
    if any(part.pieces is None for part in parts):
        return ClipTargets(tokens, None, weight)
    spoken = [part for part in parts if part.pieces]
    pieces = tuple(piece for part in spoken for piece in part.pieces or ())
    soft = None
    if spoken and all(part.soft is not None for part in spoken):
        soft = _joined([part.soft for part in spoken if part.soft is not None])
    return ClipTargets(tokens, pieces, weight, soft)


def _joined(soft: list[SoftLabels]) -> SoftLabels:
    """Only the last text ends."""
    kept = [len(part.pieces) - 1 for part in soft[:-1]] + [len(soft[-1].pieces)]
    return SoftLabels(
        np.concatenate([part.pieces[:count] for part, count in zip(soft, kept, strict=True)]),
        np.concatenate([part.probabilities[:count] for part, count in zip(soft, kept, strict=True)]),
    )


def piece_targets(
    items: Sequence[ClipTargets], vocabulary_size: int, noise: float, rng: np.random.Generator
) -> PieceTargets | None:
    """Teacher forcing of a batch; a share `noise` of the pieces that the decoder is told is wrong.

    None where no clip of the batch has a written text.
    """
    due = [_due(item) for item in items]
    if not any(due):
        return None
    length = _round_up(len(PROMPT) - 1 + max(len(pieces) for pieces in due), PIECE_GRID)
    inputs = np.full((len(items), length), END)
    positions, labels, weights, spoken = [], [], [], []
    for row, (item, pieces) in enumerate(zip(items, due, strict=True)):
        told = np.array([*PROMPT, *pieces[:-1]] if pieces else PROMPT)
        wrong = rng.random(len(told)) < noise
        wrong[: len(PROMPT)] = False
        told[wrong] = rng.integers(FIRST_BYTE, vocabulary_size, int(wrong.sum()))
        inputs[row, : len(told)] = told
        first = row * length + len(PROMPT) - 1
        positions.append(np.arange(first, first + len(pieces)))
        labels.append(np.array(pieces, np.int64))
        weights.append(np.full(len(pieces), item.weight, np.float32))
        spoken.append(np.full(len(pieces), bool(item.pieces)))
    padding = -sum(map(len, labels)) % POSITION_GRID
    return PieceTargets(
        torch.from_numpy(inputs),
        torch.from_numpy(np.pad(np.concatenate(positions), (0, padding))),
        torch.from_numpy(np.pad(np.concatenate(labels), (0, padding))),
        torch.from_numpy(np.pad(np.concatenate(weights), (0, padding))),
        torch.from_numpy(np.pad(np.concatenate(spoken), (0, padding))),
        *_soft(items, due, padding),
    )


def _due(item: ClipTargets) -> list[int]:
    """The pieces that follow the prompt."""
    if item.pieces is None:
        return []
    return [*(item.pieces or (NO_SPEECH,)), END]


def _soft(items: Sequence[ClipTargets], due: list[list[int]], padding: int) -> tuple[Tensor | None, Tensor | None]:
    """Soft labels of the batch; a clip without any has its own pieces for certain."""
    width = max((item.soft.pieces.shape[1] for item in items if item.soft is not None), default=0)
    if not width:
        return None, None
    pieces, probabilities = [], []
    for item, labels in zip(items, due, strict=True):
        rows = np.zeros((len(labels), width), np.int64)
        shares = np.zeros((len(labels), width), np.float32)
        if item.soft is not None:
            rows[:], shares[:] = item.soft.pieces, item.soft.probabilities
        elif labels:
            rows[:, 0], shares[:, 0] = labels, 1.0
        pieces.append(rows)
        probabilities.append(shares)
    grown = ((0, padding), (0, 0))
    return (
        torch.from_numpy(np.pad(np.concatenate(pieces), grown)),
        torch.from_numpy(np.pad(np.concatenate(probabilities), grown)),
    )


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
