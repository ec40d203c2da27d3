"""How many planes each matrix has at each precision: few where that costs little, within the file's size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PLANES = (1, 2, 4)
Divergence = Mapping[str, Mapping[int, float]]  # layer -> planes -> divergence of the posteriors with it alone rounded


@dataclass(frozen=True)
class Upgrade:
    """More planes for one layer."""

    layer: str
    planes: int
    gain_per_bit: float
    bits: int


def allocate(
    divergence: Divergence,
    weights: Mapping[str, int],
    precision: int,
    budget_bits: int,
    most: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Planes of the layers that have more than `precision` of them, by gain per bit until `budget_bits` are spent.

    `weights`: how many each layer has; `most`: the most planes of those that may not have all of them. Gains are taken
    as if they added up, which they do where each is small.
    """
    most = most or {}
    planes = dict.fromkeys(weights, precision)
    left = budget_bits - precision * sum(weights.values())
    while True:
        offers = [u for layer, count in planes.items() for u in _upgrades(layer, count, divergence, weights)]
        allowed = [u for u in offers if u.planes <= most.get(u.layer, PLANES[-1])]
        affordable = [u for u in allowed if u.bits <= left and u.gain_per_bit > 0]
        if not affordable:
            return {layer: count for layer, count in planes.items() if count != precision}
        best = max(affordable, key=lambda u: (u.gain_per_bit, u.layer))
        planes[best.layer] = best.planes
        left -= best.bits


def _upgrades(layer: str, planes: int, divergence: Divergence, weights: Mapping[str, int]) -> Iterable[Upgrade]:
    for more in PLANES:
        if more > planes:
            bits = (more - planes) * weights[layer]
            gain = divergence[layer][planes] - divergence[layer][more]
            yield Upgrade(layer, more, gain / bits, bits)
