"""Scales of least squared error for weights as they are: the start of co-training, and of naive quantisation.

Trained rows have outliers; a step in proportion to the standard deviation clips them, and with them the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from onebit_model.network.conformer import Conformer
from onebit_model.network.layers import Linear
from onebit_model.network.quantizers import QuantEmbedding, codes4, dequantise, quantised_layers

STEPS = torch.logspace(-0.8, 0.4, 32).tolist()  # candidates for s4, in standard deviations of the row
TWO_BIT_SHARE = 0.1  # weight of the 2-bit error, ten times the 4-bit one: its threshold is 4 s4
SMALLEST_SCALE = 1e-5  # rows of zeros need a scale too


def fit_scales(network: Conformer, importance: Mapping[str, Tensor] | None = None) -> None:
    """Sets the scales of every quantised layer, per row or per tensor as the layer has them.

    `importance` of a layer: how much an error in each column weighs, (columns,): the mean square of its inputs.
    """
    importance = importance or {}
    with torch.no_grad():
        for name, layer in quantised_layers(network).items():
            per_row = layer.log_scale4.numel() > 1
            weights = importance.get(name, torch.ones(layer.in_features)).to(layer.weight.device)
            weights = (weights / weights.mean().clamp(min=SMALLEST_SCALE)).expand_as(layer.weight)
            rows = (layer.weight, weights) if per_row else (layer.weight.reshape(1, -1), weights.reshape(1, -1))
            for bits, scale in fitted_scales(*rows).items():
                parameter: Tensor = getattr(layer, f"log_scale{bits}")
                parameter.copy_(scale.log().view_as(parameter))
        for module in network.modules():
            if isinstance(module, QuantEmbedding):
                scales = fitted_scales(module.weight)
                for planes in {4, *module.planes.values()}:
                    getattr(module, f"log_scale{planes}").copy_(scales[planes].log())


@contextmanager
def input_squares(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collects, for every Linear that runs inside the context, the sum of squares of its inputs by column."""
    squares: dict[str, Tensor] = {}

    def collect(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].detach().float().flatten(0, -2).square().sum(dim=0)
            squares[name] = squares[name] + seen if name in squares else seen

        return hook

    handles = [
        module.register_forward_pre_hook(collect(name))
        for name, module in network.named_modules()
        if isinstance(module, Linear)
    ]
    try:
        yield squares
    finally:
        for handle in handles:
            handle.remove()


def fitted_scales(rows: Tensor, weights: Tensor | None = None) -> dict[int, Tensor]:
    """(rows, columns) -> s1, s2, s4, each (rows, 1): s4 by search, the others exactly for the codes that s4 gives.

    The squared errors are weighed by `weights` (rows, columns), all alike without them.
    """
    weights = torch.ones_like(rows) if weights is None else weights
    spread = rows.std(dim=1, keepdim=True).clamp(min=SMALLEST_SCALE)
    step4 = torch.empty_like(spread)
    smallest = torch.full_like(spread, torch.inf)
    for candidate in STEPS:
        step = candidate * spread
        codes = codes4(rows, step)
        error = _error(rows, codes, step, 4, weights)
        error += TWO_BIT_SHARE * _error(rows, codes, best_scale(rows, codes, 2, weights), 2, weights)
        step4 = torch.where(error < smallest, step, step4)
        smallest = torch.minimum(error, smallest)
    codes = codes4(rows, step4)
    return {4: step4} | {bits: best_scale(rows, codes, bits, weights) for bits in (1, 2)}


def best_scale(rows: Tensor, codes: Tensor, bits: int, weights: Tensor) -> Tensor:
    """The scale of least weighted squared error for given codes, (rows, 1)."""
    levels = dequantise(codes, torch.ones_like(rows[:, :1]), bits)
    best = (weights * rows * levels).sum(dim=1, keepdim=True) / (weights * levels.square()).sum(dim=1, keepdim=True)
    return best.clamp(min=SMALLEST_SCALE)


def _error(rows: Tensor, codes: Tensor, scale: Tensor, bits: int, weights: Tensor) -> Tensor:
    return ((dequantise(codes, scale, bits) - rows).square() * weights).mean(dim=1, keepdim=True)
