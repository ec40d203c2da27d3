"""Beam search over written pieces and monotonic alignment as they are defined, without any bookkeeping."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

END, NO_SPEECH, FIRST_WRITTEN = 0, 4, 6
PROMPT = (1, 2, 3, 5)
LEAST_REPETITIONS, LEAST_LOOP, LONGEST_PHRASE = 3, 20, 32

Text = tuple[int, ...]
Network = Callable[[Text], NDArray[np.float64]]  # what follows a text, as log-probabilities
Worth = Callable[[Text], float]


@dataclass(frozen=True)
class Ended:
    text: Text
    score: float
    worth: float
    looped: bool

    @property
    def mean(self) -> float:
        return self.score / (len(self.text) + 1)


def write(
    network: Network, width: int, most_pieces: int, while_open: Worth | None = None, at_end: Worth | None = None
) -> Ended:
    """The best text. `while_open` is what a text is worth beside its probability while it may go on, `at_end` if it
    ends there."""
    texts: dict[Text, float] = {(): 0.0}
    ended: list[Ended] = []
    for _ in range(most_pieces):
        candidates = []
        for text, score in texts.items():
            row = network(text)
            for piece in range(len(row)):
                if piece in (END, NO_SPEECH) and (piece == END or not text):
                    bonus = at_end(text) if at_end else 0.0
                    candidates.append((score + row[piece] + bonus, text, piece, score + row[piece]))
                elif piece >= FIRST_WRITTEN:
                    bonus = while_open((*text, piece)) if while_open else 0.0
                    candidates.append((score + row[piece] + bonus, text, piece, score + row[piece]))
        longer: dict[Text, float] = {}
        for rank, text, piece, score in sorted(candidates, key=lambda candidate: -candidate[0]):
            if len(longer) == width or len(ended) == width:
                break
            if piece < FIRST_WRITTEN:
                ended.append(Ended(text, score, rank / (len(text) + 1), False))
            elif loops((*text, piece)):
                ended.append(Ended((*text, piece), score, score / (len(text) + 2), True))
            else:
                longer[(*text, piece)] = score
        texts = longer
        if not texts or len(ended) == width:
            break
    if not ended:
        ended = [Ended(text, score, score / (len(text) + 1), True) for text, score in texts.items()]
    return max(ended, key=lambda one: (not one.looped, one.worth))


def loops(text: Text) -> bool:
    for phrase in range(1, min(LONGEST_PHRASE, len(text) // LEAST_REPETITIONS) + 1):
        repetitions = max(LEAST_REPETITIONS, math.ceil(LEAST_LOOP / phrase))
        tail = text[-repetitions * phrase :]
        if len(text) >= repetitions * phrase and tail == tail[:phrase] * repetitions:
            return True
    return False


def first_frames(weights: NDArray[np.float64]) -> list[int]:
    """(rows, frames) -> where each row begins on the monotonic path with the largest sum (Radford et al., 2023)."""
    scores = (weights - weights.mean(axis=0)) / (weights.std(axis=0) + 1e-6)
    rows, frames = scores.shape
    if frames > 3:
        padded = np.pad(scores, ((0, 0), (3, 3)), mode="reflect")
        scores = np.median(np.lib.stride_tricks.sliding_window_view(padded, 7, axis=1), axis=2)
    best = np.full((rows + 1, frames + 1), -np.inf)
    best[0, 0] = 0
    for i in range(rows):
        for t in range(frames):
            best[i + 1, t + 1] = scores[i, t] + max(best[i, t], best[i + 1, t], best[i, t + 1])
    begin = [0] * rows
    i, t = rows, frames
    while i and t:
        begin[i - 1] = t - 1
        steps = {(i - 1, t - 1): best[i - 1, t - 1], (i, t - 1): best[i, t - 1], (i - 1, t): best[i - 1, t]}
        i, t = max(steps, key=lambda step: steps[step])
    return begin
