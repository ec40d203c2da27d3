"""Scales of least squared error for weights as they are: the start of co-training, and of naive quantisation.

Trained rows have outliers; a step in proportion to the standard deviation clips them, and with them the network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onebit_model.network.conformer import Conformer
from onebit_model.network.quantizers import codes4, dequantise, quantised_layers

STEPS = torch.logspace(-0.8, 0.4, 32).tolist()  # candidates for s4, in standard deviations of the row
TWO_BIT_SHARE = 0.1  # weight of the 2-bit error, ten times the 4-bit one: its threshold is 4 s4
SMALLEST_SCALE = 1e-5  # rows of zeros need a scale too


def fit_scales(network: Conformer) -> None:
    """Sets the scales of every quantised layer, per row or per tensor as the layer has them."""
    with torch.no_grad():
        for layer in quantised_layers(network).values():
            rows = layer.weight if layer.log_scale4.numel() > 1 else layer.weight.reshape(1, -1)
            for bits, scale in fitted_scales(rows).items():
                parameter: Tensor = getattr(layer, f"log_scale{bits}")
                parameter.copy_(scale.log().view_as(parameter))


def fitted_scales(rows: Tensor) -> dict[int, Tensor]:
    """(rows, columns) -> s1, s2, s4, each (rows, 1): s4 by search, the others exactly for the codes that s4 gives."""
    spread = rows.std(dim=1, keepdim=True).clamp(min=SMALLEST_SCALE)
    step4 = torch.empty_like(spread)
    smallest = torch.full_like(spread, torch.inf)
    for candidate in STEPS:
        step = candidate * spread
        codes = codes4(rows, step)
        error = _error(rows, codes, step, 4) + TWO_BIT_SHARE * _error(rows, codes, best_scale(rows, codes, 2), 2)
        step4 = torch.where(error < smallest, step, step4)
        smallest = torch.minimum(error, smallest)
    codes = codes4(rows, step4)
    return {4: step4} | {bits: best_scale(rows, codes, bits) for bits in (1, 2)}


def best_scale(rows: Tensor, codes: Tensor, bits: int) -> Tensor:
    """The scale of least squared error for given codes, (rows, 1)."""
    levels = dequantise(codes, torch.ones_like(rows[:, :1]), bits)
    best = (rows * levels).sum(dim=1, keepdim=True) / levels.square().sum(dim=1, keepdim=True)
    return best.clamp(min=SMALLEST_SCALE)


def _error(rows: Tensor, codes: Tensor, scale: Tensor, bits: int) -> Tensor:
    return (dequantise(codes, scale, bits) - rows).square().mean(dim=1, keepdim=True)
