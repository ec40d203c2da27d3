"""Length-bucketed batches whose order depends only on the seed and the epoch.

Batches are padded to a grid: matrix products of few different sizes, because a library that compiles its kernels for
each size spends more time on a new one than on the product.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

GRID_SECONDS = 0.4
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
