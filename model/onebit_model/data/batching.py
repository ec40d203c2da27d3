"""Length-bucketed batches whose order depends only on the seed and the epoch.

Batches are padded to a grid: matrix products of few different sizes, because a library that compiles its kernels for
each size spends more time on a new one than on the product.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from onebit_model.config import SAMPLE_RATE

GRID_SECONDS = 0.4
GRID_SAMPLES = round(GRID_SECONDS * SAMPLE_RATE)
BUCKET_JITTER = 0.05  # relative noise on the sort key: neighbours change between epochs


def epoch_batches(durations_seconds: Sequence[float], batch_seconds: float, seed: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch in batches of at most `batch_seconds` padded seconds, in random order.

    A clip longer than `batch_seconds` is a batch of its own.
    """
    rng = np.random.default_rng([seed, epoch])
    durations = np.asarray(durations_seconds)
    keys = durations * (1 + BUCKET_JITTER * rng.standard_normal(len(durations)))
    batches: list[list[int]] = []
    longest = 0.0
    for index in np.argsort(keys, kind="stable").tolist():
        padded = on_grid(float(durations[index]))
        longest = max(longest, padded)
        if not batches or longest * (len(batches[-1]) + 1) > batch_seconds:
            batches.append([])
            longest = padded
        batches[-1].append(index)
    order = rng.permutation(len(batches))
    return [batches[i] for i in order]


def on_grid(seconds: float) -> float:
    """Padded length of a clip, in seconds."""
    return GRID_SECONDS * math.ceil(seconds / GRID_SECONDS)


def batches_from(durations_seconds: Sequence[float], batch_seconds: float, seed: int, step: int) -> Iterator[list[int]]:
    """Endless batches, epoch after epoch, beginning with that of `step`: how training resumes."""
    epoch = 0
    while True:
        batches = epoch_batches(durations_seconds, batch_seconds, seed, epoch)
        if step < len(batches):
            yield from batches[step:]
            step = 0
        else:
            step -= len(batches)
        epoch += 1


def pad_audio(clips: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Zero-padded (batch, samples) float32, on the grid of batches, and the lengths (batch,) int64."""
    lengths = torch.tensor([len(clip) for clip in clips])
    padded = torch.zeros(len(clips), round_up(int(lengths.max()), GRID_SAMPLES))
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = torch.from_numpy(clip)
    return padded, lengths


def round_up(value: int, multiple: int) -> int:
    """The least multiple that is not below `value`: a length on the grid, in samples or frames."""
    return -(-value // multiple) * multiple
