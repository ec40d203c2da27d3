"""Rounding with error feedback (GPTQ; Frantar et al. 2022, arXiv 2210.17323), for nested codes.

A matrix is rounded column by column, and the columns that follow make good each one's error as far as their inputs
correlate with its own. What counts is the error of the output, tr(E H E') with the inputs' H = X'X, which is three to
ten times less than after rounding each weight to its nearest level. Planes are chosen from the first on: the sign, the
2-bit code within the sign, the 4-bit code within that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebit_model.files.allocation import EMBEDDING
from onebit_model.network.conformer import Conformer
from onebit_model.network.layers import Linear
from onebit_model.network.quantizers import QuantEmbedding, QuantLinear, quantised_layers

DAMPING = 0.01  # of the mean diagonal of H, added to it (section 3.3 of the paper)
BLOCK_COLUMNS = 64  # that are rounded before their errors go on to all others
ROUNDS = 2  # of rounding and then fitting the scales to the codes
# A plane is bound to what the weight itself would have: a sign where the weight is larger than this share of s1, a
# 2-bit code within so many s4 of the weight. Else what 1 and 2 bit need costs 4 bit more than rounding to the nearest.
BOUND_SIGN, BOUND_STEPS = 0.8, 2.0
# The embedding's rows are outputs, and inputs that count by themselves: so much of the identity in its H.
EMBEDDING_IDENTITY = 4.0
SMALLEST_SCALE = 1e-5

Pick = Callable[
    [Tensor, int], tuple[Tensor, Tensor]
]  # a column's wanted values and its index -> codes and their values


@contextmanager
def input_grams(network: Conformer) -> Iterator[dict[str, Tensor]]:
    """Collects X'X of every Linear that runs inside the context, (columns, columns), and of the decoder's output."""
    grams: dict[str, Tensor] = {}

    def add(name: str, inputs: Tensor) -> None:
        rows = inputs.detach().float().flatten(0, -2)
        with torch.autocast(rows.device.type, enabled=False):
            gram = rows.T @ rows
        grams[name] = grams[name] + gram if name in grams else gram

    def input_hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: add(name, inputs[0])

    handles = [
        module.register_forward_pre_hook(input_hook(name))
        for name, module in network.named_modules()
        if isinstance(module, Linear)
    ]
    if network.decoder is not None:
        handles.append(network.decoder.norm.register_forward_hook(lambda _m, _i, output: add(EMBEDDING, output)))
    try:
        yield grams
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def round_network(network: Conformer, grams: Mapping[str, Tensor]) -> None:
    """Gives every quantised layer that `grams` names the codes and scales of least output error, in place.

    The latent weights become the levels of 4 bit. Scales must be fitted already: they are where the search begins.
    """
    for name, layer in quantised_layers(network).items():
        if name in grams:
            _round_layer(layer, _Feedback(grams[name]), BOUND_STEPS)
    if network.decoder is not None and isinstance(embedding := network.decoder.embedding, QuantEmbedding):
        gram = grams[EMBEDDING]
        gram = gram / gram.diagonal().mean() + EMBEDDING_IDENTITY * torch.eye(len(gram), device=gram.device)
        _round_layer(embedding, _Feedback(gram), torch.inf)


class _Feedback:
    """What an error in one column asks of the others: the inverse's Cholesky factor, columns of most energy first."""

    def __init__(self, gram: Tensor) -> None:
        self.gram = gram
        self.order = torch.argsort(gram.diagonal(), descending=True)
        ordered = gram[self.order][:, self.order].double()
        ordered.diagonal().add_(DAMPING * ordered.diagonal().mean().clamp(min=SMALLEST_SCALE))
        self.factor = torch.linalg.cholesky(torch.linalg.inv(ordered), upper=True).float()

    def codes(self, weight: Tensor, pick: Pick) -> Tensor:
        """(rows, columns) of codes as `pick` chooses them (algorithm 1 of the paper)."""
        wanted = weight[:, self.order].clone()
        codes = torch.empty_like(wanted)
        columns = wanted.shape[1]
        for start in range(0, columns, BLOCK_COLUMNS):
            end = min(start + BLOCK_COLUMNS, columns)
            errors = torch.empty_like(wanted[:, start:end])
            for i in range(start, end):
                codes[:, i], value = pick(wanted[:, i], int(self.order[i]))
                errors[:, i - start] = (wanted[:, i] - value) / self.factor[i, i]
                wanted[:, i:end] -= torch.outer(errors[:, i - start], self.factor[i, i:end])
            wanted[:, end:] -= errors @ self.factor[start:end, end:]
        original = torch.empty_like(codes)
        original[:, self.order] = codes
        return original

    def scale(self, levels: Tensor, weight: Tensor) -> Tensor:
        """(rows, 1): of least output error for given levels."""
        projected = levels @ self.gram
        best = (projected * weight).sum(dim=1) / (projected * levels).sum(dim=1).clamp(min=SMALLEST_SCALE**2)
        return best.clamp(min=SMALLEST_SCALE)[:, None]


@dataclass
class _Nested:
    """The codes of one matrix, plane after plane: {planes: codes} of those that are chosen."""

    weight: Tensor
    feedback: _Feedback
    scales: dict[int, Tensor]
    codes: dict[int, Tensor]

    def choose(self, planes: int, bound: Callable[[Tensor, int, Tensor], Tensor]) -> None:
        """Codes of so many planes, within those that have fewer; `bound` limits them further: (codes, column, w)."""
        half, middle = 2 ** (planes - 1), 2 ** (planes - 1) - 0.5

        def pick(wanted: Tensor, column: int) -> tuple[Tensor, Tensor]:
            scale = self.scales[planes][:, 0] * (2 if planes == 1 else 1)  # two levels are a step of 2 s1 apart
            code = (torch.floor(wanted / scale) + half).clamp(0, 2 * half - 1)
            code = self._within(planes, bound(code, column, self.weight[:, column]), column)
            return code, (code - middle) * scale

        for _ in range(ROUNDS):
            self.codes[planes] = self.feedback.codes(self.weight, pick)
            levels = (self.codes[planes] - middle) * (2 if planes == 1 else 1)
            self.scales[planes] = self.feedback.scale(levels, self.weight)

    def _within(self, planes: int, code: Tensor, column: int) -> Tensor:
        fewer = max((known for known in self.codes if known < planes), default=None)
        if fewer is None:
            return code
        first = self.codes[fewer][:, column] * 2 ** (planes - fewer)
        return torch.minimum(torch.maximum(code, first), first + 2 ** (planes - fewer) - 1)


def _round_layer(layer: QuantLinear | QuantEmbedding, feedback: _Feedback, bound_steps: float) -> None:
    used = {4, *layer.planes.values()}
    weight = layer.weight.detach()
    step1, step4 = (layer.scale(planes)[:, 0] if planes in used else None for planes in (1, 4))
    assert step4 is not None

    def keep_large_signs(code: Tensor, _column: int, column_weight: Tensor) -> Tensor:
        assert step1 is not None
        return torch.where(column_weight.abs() > BOUND_SIGN * step1, (column_weight >= 0).to(code.dtype), code)

    def stay_near(code: Tensor, _column: int, column_weight: Tensor) -> Tensor:
        low, high = (
            (torch.floor((column_weight + side * step4) / (4 * step4)) + 2).clamp(0, 3)
            for side in (-bound_steps, bound_steps)
        )
        return torch.minimum(torch.maximum(code, low), high)

    nested = _Nested(weight, feedback, {planes: layer.scale(planes) for planes in used}, {})
    if 1 in used:
        nested.choose(1, keep_large_signs)
    if 2 in used:
        nested.choose(2, stay_near)
    nested.choose(4, lambda code, _column, _weight: code)
    layer.weight.copy_((nested.codes[4] - 7.5) * nested.scales[4])
    for planes in used:
        layer.get_parameter(f"log_scale{planes}").copy_(nested.scales[planes].log())
