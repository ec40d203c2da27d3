"""A back-off n-gram model as it is defined: a dictionary of n-grams, read from the arrays of its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEGIN = 0
Ngram = tuple[int, ...]


@dataclass(frozen=True)
class TrieArrays:
    tokens: NDArray[np.uint16]
    log_probabilities: NDArray[np.uint8]
    backoffs: NDArray[np.uint8]
    children: NDArray[np.uint16]


class BackoffModel:
    def __init__(self, arrays: TrieArrays) -> None:
        self.values: dict[Ngram, float] = {}
        self.backoffs: dict[Ngram, float] = {}
        nodes: list[Ngram] = [()]
        for parent, count in enumerate(arrays.children.tolist()):
            self.backoffs[nodes[parent]] = (32 - int(arrays.backoffs[parent])) / 16
            for _ in range(count):
                at = len(nodes) - 1
                nodes.append((*nodes[parent], int(arrays.tokens[at])))
                self.values[nodes[-1]] = -int(arrays.log_probabilities[at]) / 16

    def log_probability(self, context: Ngram, token: int) -> float:
        if (*context, token) in self.values:
            return self.values[(*context, token)]
        return self.backoffs.get(context, 0.0) + self.log_probability(context[1:], token)

    def text(self, tokens: Sequence[int]) -> float:
        """Natural logarithm of the probability of a text's tokens."""
        before = [(BEGIN, *tokens[:i]) for i in range(len(tokens))]
        order = max(len(ngram) for ngram in self.values)
        return sum(
            self.log_probability(context[max(0, len(context) - order + 1) :], token)
            for context, token in zip(before, tokens, strict=True)
        )
