"""Posteriors as a trained network gives them, and what the search makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onebit_kernels import Hotwords, LanguageModel
from onebit_kernels._core import BeamSearch, Token

Matrix = NDArray[np.float32]
PIECES = ("\u2581", "\u2581a", "\u2581b", "a", "b", "c", "ab", "\u2581ca", "bc", "\u2581cab")
PHRASES = ("cab", "a cab", "abc", "b abc a", "cab cab")


def posteriors(frames: int, outputs: int, seed: int, sharpness: float = 3.0) -> Matrix:
    """Peaks that last a frame or two between blanks, as a trained network gives: (frames, outputs) logarithms."""
    random = np.random.default_rng(seed)
    logits = sharpness * random.standard_normal((frames, outputs))
    logits[random.random(frames) < 0.4, 0] += 2 * sharpness
    logits = np.repeat(logits, random.integers(1, 3, frames), axis=0)[:frames]
    logits += 0.1 * random.standard_normal(logits.shape)  # equal frames would make equal alignments
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def search(
    rows: Matrix,
    width: int,
    hotwords: Hotwords | None = None,
    chunk: int = 10_000,
    language_model: LanguageModel | None = None,
) -> list[Token]:
    searching = BeamSearch(width, rows.shape[1], hotwords, language_model)
    tokens: list[Token] = []
    tentative: list[Token] = []
    for start in range(0, len(rows), chunk):
        decided, tentative = searching.advance(rows[start : start + chunk])
        tokens += decided
    return tokens + tentative


def fields(tokens: list[Token]) -> list[tuple[int, int, int, float]]:
    return [(token.id, token.frame, token.frames, token.confidence) for token in tokens]
