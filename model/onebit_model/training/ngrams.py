"""Estimation of an n-gram model of pieces: modified Kneser-Ney smoothing, pruned to a number of n-grams.

An n-gram is one integer, its token ids in nine bits each with the oldest one highest, so that a level of the model is a
sorted array and the children of a context lie side by side in the next one. Id 0 stands for the beginning of a text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

BEGIN = 0
TOKEN_BITS = np.uint64(9)
MOST_TOKENS = 1 << int(TOKEN_BITS)
HIGHEST_ORDER = 7
STEPS = 16  # of a rounded natural logarithm
ZERO_BACKOFF = 32  # its code


@dataclass(frozen=True)
class Level:
    """All n-grams of one order: sorted keys, log-probabilities of their last token, log back-off weights."""

    keys: Keys
    log_probabilities: Floats
    log_backoffs: Floats

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Positions of `keys` (any where they are not), and whether they are there."""
        positions = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return positions, self.keys[positions] == keys


def estimate(sentences: Iterable[Sequence[int]], order: int, tokens: int, entries: int | None = None) -> list[Level]:
    """Levels 1 to `order` of a model over token ids 1 to `tokens`.

    Interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1999, section 3). Of the n-grams above the first order
    the `entries` that lower the entropy most are kept (Stolcke, 1998), and the contexts that these need.
    """
    if not 1 <= order <= HIGHEST_ORDER or not 1 <= tokens < MOST_TOKENS:
        raise ValueError(f"order must be 1 to {HIGHEST_ORDER} and there may be {MOST_TOKENS - 1} tokens")
    raw = _raw_counts(sentences, order)
    counts = _adjusted_counts(raw, tokens)
    probabilities: list[Floats] = []
    gains: list[Floats] = []
    total = raw[0][1].sum()
    for n, (keys, count) in enumerate(counts, start=1):
        lower = np.full(len(keys), 1 / tokens) if n == 1 else _at(counts[n - 2][0], probabilities[-1], _suffix(keys, n))
        share, gamma = _discounted(keys, count)
        probabilities.append(share + gamma * lower)
        gains.append(_counted(raw[n - 1], keys) / total * np.log(probabilities[-1] / (gamma * lower)))
    kept = _prune([keys for keys, _ in counts], gains, entries)
    return _with_backoffs([(counts[n][0][kept[n]], probabilities[n][kept[n]]) for n in range(order)])


def _raw_counts(sentences: Iterable[Sequence[int]], order: int) -> list[tuple[Keys, Floats]]:
    """Of each order: keys and how often they occur. The beginning alone is no unigram."""
    ends: list[int] = []
    stream: list[int] = []
    for sentence in sentences:
        stream += [BEGIN, *sentence]
        ends += range(len(sentence) + 1)  # tokens between the beginning and this one
    ids, before = np.array(stream, np.uint64), np.array(ends)
    keys = np.zeros(len(ids), np.uint64)
    levels = []
    for n in range(1, order + 1):
        keys = keys | (np.roll(ids, n - 1) << np.uint64(9 * (n - 1)))
        unique, count = np.unique(keys[before >= max(n - 1, 1)], return_counts=True)
        levels.append((unique, count.astype(np.float64)))
    return levels


def _adjusted_counts(raw: list[tuple[Keys, Floats]], tokens: int) -> list[tuple[Keys, Floats]]:
    """Below the highest order an n-gram counts once per token seen before it, if anything may stand there."""
    adjusted = list(raw)
    for n, (longer, _) in enumerate(raw[1:], start=1):
        keys, count = raw[n - 1]
        suffixes, kinds = np.unique(_suffix(longer, n + 1), return_counts=True)
        before = _counted((suffixes, kinds.astype(np.float64)), keys)
        adjusted[n - 1] = keys, np.where(before > 0, before, count)
    everything = np.arange(1, tokens + 1, dtype=np.uint64)  # every token is possible
    adjusted[0] = everything, _counted(adjusted[0], everything)
    return adjusted


def _discounted(keys: Keys, count: Floats) -> tuple[Floats, Floats]:
    """Each n-gram's share of its context, and what its context leaves to the lower order."""
    having = [np.count_nonzero(count == c) for c in range(5)]
    if min(having[1:5]):
        y = having[1] / (having[1] + 2 * having[2])
        discounts = np.array([0.0, *(c - (c + 1) * y * having[c + 1] / having[c] for c in (1, 2, 3))])
    else:
        discounts = np.array([0.0, 0.5, 0.75, 0.75])
    discount = discounts[np.minimum(count, 3).astype(int)]
    _, context, sizes = np.unique(keys >> TOKEN_BITS, return_inverse=True, return_counts=True)
    totals = np.bincount(context, count, len(sizes))
    left = np.bincount(context, discount, len(sizes)) / totals
    return (count - discount) / totals[context], left[context]


def _prune(keys: list[Keys], gains: list[Floats], entries: int | None) -> list[npt.NDArray[np.bool_]]:
    """Which n-grams stay: the best of orders 2 and up, with their contexts; all unigrams."""
    kept = [np.ones(len(level), bool) for level in keys]
    everything = np.concatenate(gains[1:]) if len(gains) > 1 else np.zeros(0)
    if entries is not None and entries < len(everything):
        least = np.partition(everything, -entries)[-entries]
        kept[1:] = [gain >= least for gain in gains[1:]]
    for n in range(len(keys) - 1, 1, -1):
        contexts = np.unique(keys[n][kept[n]] >> TOKEN_BITS)
        kept[n - 1] |= np.isin(keys[n - 1], contexts, assume_unique=True)
    return kept


def _with_backoffs(levels: list[tuple[Keys, Floats]]) -> list[Level]:
    """Back-off weights that make the probabilities behind each context sum to one (the beginning is a context, too)."""
    unigrams, probabilities = levels[0]
    never = np.finfo(float).tiny
    levels = [(np.insert(unigrams, 0, np.uint64(BEGIN)), np.insert(probabilities, 0, never)), *levels[1:]]
    finished: list[Level] = []
    for n, (keys, likely) in enumerate(levels, start=1):
        backoffs = np.zeros(len(keys))
        finished.append(Level(keys, np.log(likely), backoffs))
        if n == len(levels):
            break
        longer, following = levels[n]
        contexts = np.searchsorted(keys, longer >> TOKEN_BITS)
        lower = np.exp(log_probabilities(finished, _suffix(longer, n + 1), n))
        rest = 1 - np.bincount(contexts, following, len(keys))
        shared = 1 - np.bincount(contexts, lower, len(keys))
        backoffs[:] = np.log(np.maximum(rest, 1e-6) / np.maximum(shared, 1e-6))
    return finished


def log_probabilities(levels: Sequence[Level], keys: Keys, order: int) -> Floats:
    """Of the last tokens of n-grams of one order, backing off where the model lacks them."""
    level = levels[order - 1]
    positions, found = level.find(keys)
    values = level.log_probabilities[positions]
    if not found.all():
        missing = keys[~found]
        context = levels[order - 2]
        positions, known = context.find(missing >> TOKEN_BITS)
        price = np.where(known, context.log_backoffs[positions], 0.0)
        values[~found] = price + log_probabilities(levels, _suffix(missing, order), order - 1)
    return values


def _suffix(keys: Keys, order: int) -> Keys:
    return keys & np.uint64((1 << (9 * (order - 1))) - 1)


def _at(keys: Keys, values: Floats, wanted: Keys) -> Floats:
    return values[np.searchsorted(keys, wanted)]


def _counted(level: tuple[Keys, Floats], wanted: Keys) -> Floats:
    keys, count = level
    positions = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[positions] == wanted, count[positions], 0.0)


@dataclass(frozen=True)
class Trie:
    """The levels as the search reads them: docs/file-format.md has the codes."""

    tokens: npt.NDArray[np.uint16]
    log_probabilities: npt.NDArray[np.uint8]
    backoffs: npt.NDArray[np.uint8]
    children: npt.NDArray[np.uint16]


def trie(levels: Sequence[Level]) -> Trie:
    """Rounds to sixteenths; children of one context stand together, in the order of their contexts."""
    children = [np.array([len(levels[0].keys)])]
    for level, longer in itertools.pairwise(levels):
        contexts = np.searchsorted(level.keys, longer.keys >> TOKEN_BITS)
        children.append(np.bincount(contexts, minlength=len(level.keys)))
    backoffs = np.concatenate([np.zeros(1), *(level.log_backoffs for level in levels[:-1])])
    log_probabilities = np.concatenate([level.log_probabilities for level in levels])
    keys = np.concatenate([level.keys for level in levels])
    return Trie(
        (keys & np.uint64(MOST_TOKENS - 1)).astype(np.uint16),
        _code(-STEPS * log_probabilities),
        _code(ZERO_BACKOFF - STEPS * backoffs),
        np.concatenate(children).astype(np.uint16),
    )


def _code(values: Floats) -> npt.NDArray[np.uint8]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
