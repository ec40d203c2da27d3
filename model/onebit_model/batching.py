"""Length-bucketed batches whose order depends only on the seed and the epoch."""

from collections.abc import Iterator, Sequence

import numpy as np

BUCKET_JITTER = 0.15  # relative noise on the sort key: neighbours change between epochs


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
        longest = max(longest, float(durations[index]))
        if not batches or longest * (len(batches[-1]) + 1) > batch_seconds:
            batches.append([])
            longest = float(durations[index])
        batches[-1].append(index)
    order = rng.permutation(len(batches))
    return [batches[i] for i in order]


def batches_from(
    durations_seconds: Sequence[float], batch_seconds: float, seed: int, step: int
) -> Iterator[tuple[int, list[int]]]:
    """Endless (epoch, batch) pairs, beginning with the batch of `step`: how training resumes."""
    epoch = 0
    while True:
        batches = epoch_batches(durations_seconds, batch_seconds, seed, epoch)
        if step < len(batches):
            for batch in batches[step:]:
                yield epoch, batch
            step = 0
        else:
            step -= len(batches)
        epoch += 1
