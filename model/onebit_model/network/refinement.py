"""One precision learns alone, while the lower ones stay what they are, to the bit.

Low precisions learn at rates at which the codes of the high ones do not come to rest. So the high one learns last: its
latent weights move within the cells of the codes that the lower ones use, and beside them only what is private to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onebit_model.config import PRECISIONS
from onebit_model.network.conformer import Conformer
from onebit_model.network.quantizers import PrivateLayerNorm, QuantEmbedding, QuantLinear, codes4

# Weights stay this far from the walls of their cells, in s4, so that float16 takes none of them through.
MARGIN = 0.05


class Refinement:
    """`names` of the parameters that learn; after each step `hold` takes the latent weights back into their cells."""

    @torch.no_grad()
    def __init__(self, network: Conformer, bits: int) -> None:
        self.names: set[str] = set()
        self._cells: list[tuple[Tensor, Tensor, Tensor]] = []
        for name, module in network.named_modules():
            if isinstance(module, PrivateLayerNorm):
                self.names |= {f"{name}.weight{bits}", f"{name}.bias{bits}"}
            if not isinstance(module, QuantLinear | QuantEmbedding):
                continue
            held = max((module.planes[lower] for lower in PRECISIONS if lower < bits), default=0)
            if held < module.planes[bits]:
                self.names.add(f"{name}.weight")
                self._cells.append((module.weight, *_cell(module.weight, module.scale(4), held)))

    @torch.no_grad()
    def hold(self) -> None:
        for weight, low, high in self._cells:
            weight.clamp_(low, high)


def _cell(weight: Tensor, step4: Tensor, planes: int) -> tuple[Tensor, Tensor]:
    """The bounds within which weights keep the first planes of their codes; the outermost cells have no outer wall."""
    levels = 2 ** (4 - planes)
    first = torch.floor(codes4(weight, step4) / levels) * levels
    low, high = (first - 8 + MARGIN) * step4, (first - 8 + levels - MARGIN) * step4
    low[first == 0], high[first == 16 - levels] = -torch.inf, torch.inf
    return low, high
