"""From the probability that the decoder gives a word to the share of such words that are right.

A monotone map for each precision, fitted on labelled speech (`onebit bench calibration`); without one, the probability.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from onebit_model.errors import ModelFileError

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Calibration:
    """`maps`: {precision: points (probability, share of right words)}, both 0 to 1; straight lines between points."""

    maps: Mapping[int, Points] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for bits, points in self.maps.items():
            if not points or not all(0 <= value <= 1 for point in points for value in point):
                raise ModelFileError(f"the calibration at {bits} bit needs points from 0 to 1")
            if any(a[0] >= b[0] or a[1] > b[1] for a, b in pairwise(points)):
                raise ModelFileError(f"the calibration at {bits} bit does not rise")

    def confidence(self, bits: int, probability: float) -> float:
        """The expected share of right words among those of this probability."""
        points = self.maps.get(bits)
        if points is None:
            return probability
        at, share = zip(*points, strict=True)
        return float(np.interp(probability, at, share))

    def only(self, bits: Sequence[int]) -> Calibration:
        return Calibration({b: points for b, points in self.maps.items() if b in bits})

    def to_json(self) -> str:
        return json.dumps({str(bits): points for bits, points in self.maps.items()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Raises ModelFileError, ValueError, TypeError or AttributeError for what is no calibration."""
        stored = json.loads(text)
        return cls({int(bits): tuple((float(x), float(y)) for x, y in points) for bits, points in stored.items()})
