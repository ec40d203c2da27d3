"""Length-bucketed batches whose order depends only on the seed and the epoch.

Batches are padded to a grid: matrix products of few different sizes, because a library that compiles its kernels for
each size spends more time on a new one than on the product.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onebit_model.config import SAMPLE_RATE

GRID_SECONDS = 0.4
GRID_SAMPLES = round(GRID_SECONDS * SAMPLE_RATE)
BUCKET_JITTER = 0.05  # relative noise on the sort key: neighbours change between epochs

Item = tuple[int, ...]  # clips that are heard one after the other


@dataclass(frozen=True)
class JoinConfig:
    """Clips heard in one breath, as in a segment of a long recording: several sentences, silence around them.

    `share` of the clips stand in joined items of up to `longest_seconds`; `gap_seconds` lie between two,
    `edge_seconds` before the first and after the last of any item.
    """

    share: float = 0.0
    longest_seconds: float = 28.0
    gap_seconds: tuple[float, float] = (0.1, 0.8)
    edge_seconds: tuple[float, float] = (0.0, 0.0)


def epoch_items(durations_seconds: Sequence[float], config: JoinConfig, rng: np.random.Generator) -> list[Item]:
    """Every clip once, alone or joined with others."""
    order = rng.permutation(len(durations_seconds)).tolist()
    joined = round(config.share * len(order))
    items: list[Item] = [(index,) for index in order[joined:]]
    group: list[int] = []
    room = 0.0
    for index in order[:joined]:
        needed = durations_seconds[index] + config.gap_seconds[1]
        if group and needed > room:
            items.append(tuple(group))
            group = []
        if not group:
            room = rng.uniform(config.longest_seconds / 4, config.longest_seconds)
        group.append(index)
        room -= needed
    return [*items, tuple(group)] if group else items


def item_seconds(item: Item, durations_seconds: Sequence[float], config: JoinConfig) -> float:
    """The longest that an item can be."""
    silence = 2 * config.edge_seconds[1] + (len(item) - 1) * config.gap_seconds[1]
    return silence + sum(durations_seconds[index] for index in item)


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


def batches_from(
    durations_seconds: Sequence[float], batch_seconds: float, seed: int, step: int, join: JoinConfig
) -> Iterator[list[Item]]:
    """Endless batches, epoch after epoch, beginning with that of `step`: how training resumes."""
    epoch = 0
    while True:
        items = epoch_items(durations_seconds, join, np.random.default_rng([seed, epoch, 1]))
        seconds = [item_seconds(item, durations_seconds, join) for item in items]
        batches = epoch_batches(seconds, batch_seconds, seed, epoch)
        if step < len(batches):
            yield from ([items[index] for index in batch] for batch in batches[step:])
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
