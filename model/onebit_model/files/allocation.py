"""How many planes of its codes a low-bit layer uses at each precision.

A precision is a budget: most layers use as many planes as it has bits, the few that decide the accuracy use more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from onebit_model.config import PRECISIONS
from onebit_model.errors import ModelFileError

EMBEDDING = "decoder.embedding"
EMBEDDING_PLANES = 4


def default_planes(layer: str, bits: int) -> int:
    """Planes of a layer that the allocation does not name: all of the embedding, else as many as there are bits."""
    return EMBEDDING_PLANES if layer == EMBEDDING else bits


@dataclass(frozen=True)
class Allocation:
    """`exceptions`: {precision: {layer: planes}} of the layers whose planes are not the default.

    That is as many as the precision has bits; for the decoder's embedding it is four at every precision.
    """

    exceptions: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for bits, layers in self.exceptions.items():
            for layer, planes in layers.items():
                if bits not in PRECISIONS or planes not in PRECISIONS or type(planes) is not int:
                    raise ModelFileError(f"{layer} must have 1, 2 or 4 planes, not {planes!r} at {bits} bit")
                if planes == default_planes(layer, bits):
                    raise ModelFileError(f"{layer} is no exception with {planes} planes at {bits} bit: leave it out")

    def __bool__(self) -> bool:
        return any(self.exceptions.values())

    def planes(self, layer: str, bits: int) -> int:
        """Planes of a layer at a precision; the layer's scale there is `scale{planes}`."""
        return self.exceptions.get(bits, {}).get(layer, default_planes(layer, bits))

    def used(self, layer: str, bits: Iterable[int]) -> set[int]:
        """The numbers of planes that a file of these precisions uses of a layer."""
        return {self.planes(layer, b) for b in bits}

    def only(self, bits: Sequence[int]) -> Allocation:
        """The part that these precisions need."""
        return Allocation({b: layers for b, layers in self.exceptions.items() if b in bits and layers})

    def layers(self) -> set[str]:
        return {layer for layers in self.exceptions.values() for layer in layers}

    def to_json(self) -> str:
        return json.dumps({str(b): dict(layers) for b, layers in self.exceptions.items()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Allocation:
        """Raises ModelFileError, ValueError or AttributeError for what is no allocation."""
        return cls({int(bits): dict(layers) for bits, layers in json.loads(text).items()})
