"""Starting codes from data: each layer's codes are chosen so that its output on real speech stays what it was.

Signs of trained weights alone lose the network. Rounding one input column after the other, and moving what a column
loses to those not yet rounded (OPTQ, Frantar et al. 2023, arXiv 2210.17323, Algorithm 1), keeps most of a layer's
output, because the inputs of a layer are strongly correlated. Here it runs twice on each layer: for the signs, on the
inputs that the 1-bit network below really delivers, and for the 4-bit codes, whose top bits are those signs.
Layers are visited in the order of the network, so that a layer makes up for the errors of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebit_model.network import SEGMENT, STEM_STRIDE, Block, Conformer, attention_mask, average_pairs
from onebit_model.quantizers import Precision, QuantLinear
from onebit_model.scale_fitting import SMALLEST_SCALE, fit_scales
from onebit_model.sources import Inputs

DAMPING = 0.01  # of the mean diagonal, added to it (the paper's value)
COLUMN_BLOCK = 128
SIGN_ROUNDS = 2  # the scale of the signs is fitted to the signs, which depend on it
# Layers of a block that are fed together, in the order of the computation.
GROUPS = (
    ("ff1.up",),
    ("ff1.down",),
    ("attention.query", "attention.key", "attention.value"),
    ("attention.output",),
    ("convolution.expand",),
    ("convolution.project",),
    ("ff2.up",),
    ("ff2.down",),
)
RoundColumn = Callable[[Tensor, int], Tensor]


@dataclass
class Moments:
    """Second moments of a layer's inputs: x of the quantised network, t of the full-precision one."""

    xx: Tensor  # (columns, columns)
    xt: Tensor
    tt: Tensor

    @classmethod
    def zeros(cls, columns: int) -> Moments:
        return cls(*(torch.zeros(columns, columns) for _ in range(3)))

    def add(self, x: Tensor, t: Tensor) -> None:
        """x, t: (rows, columns) float32."""
        self.xx += x.T @ x
        self.xt += x.T @ t
        self.tt += t.T @ t


@torch.no_grad()
def calibrate(network: Conformer, precision: Precision, full: Conformer, batches: Sequence[Inputs]) -> None:
    """Set the latent weights and scales of a freshly quantised `network`; `full` is the network it was made from.

    `batches` are log-mel inputs; a few minutes of speech tell the moments of 2,048 inputs well enough.
    """
    fit_scales(network)
    precision.bits, precision.ramp, precision.activations = 1, 1.0, False
    states = [_entered(network, full, inputs) for inputs in batches]
    for index, (block, full_block) in enumerate(zip(network.blocks, full.blocks, strict=True)):
        assert isinstance(block, Block)
        assert isinstance(full_block, Block)
        for names in GROUPS:
            moments = _moments(block, full_block, names[0], states)
            for name in names:
                layer = block.get_submodule(name)
                assert isinstance(layer, QuantLinear)
                _calibrate_layer(layer, full_block.get_submodule(name).get_parameter("weight"), moments)
        for state in states:
            state.leave(block, full_block, averaged=index + 1 == network.config.average_after)
    precision.bits = None


@dataclass
class _State:
    """One batch on its way through the blocks, in both networks, with full context."""

    x: Tensor
    t: Tensor
    frames: Tensor

    @property
    def mask(self) -> Tensor:
        return attention_mask(self.x.shape[1], self.frames, 0, 0)

    def leave(self, block: Block, full_block: Block, *, averaged: bool) -> None:
        self.x, self.t = block(self.x, self.mask), full_block(self.t, self.mask)
        if averaged:
            self.x, self.t, self.frames = average_pairs(self.x), average_pairs(self.t), self.frames // 2


def _entered(network: Conformer, full: Conformer, inputs: Inputs) -> _State:
    mel, lengths = inputs.values, inputs.lengths
    x, t = network.lower(mel, lengths, SEGMENT, 0), full.lower(mel, lengths, SEGMENT, 0)
    return _State(x.float(), t.float(), lengths // STEM_STRIDE)


def _moments(block: Block, full_block: Block, name: str, states: Sequence[_State]) -> Moments:
    moments = Moments.zeros(full_block.get_submodule(name).get_parameter("weight").shape[1])
    for state in states:
        with _input_of(block.get_submodule(name)) as seen, _input_of(full_block.get_submodule(name)) as target:
            block(state.x, state.mask)
            full_block(state.t, state.mask)
        valid = torch.arange(state.x.shape[1])[None, :] < state.frames[:, None]
        moments.add(seen[0].float()[valid], target[0].float()[valid])
    return moments


@contextmanager
def _input_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def _calibrate_layer(layer: QuantLinear, weight: Tensor, moments: Moments) -> None:
    # The weights that give the full-precision output from the inputs that really arrive.
    wanted = torch.linalg.solve(damped(moments.xx), moments.xt @ weight.T + _damping(moments.xx) * weight.T).T
    signs, scale1 = calibrated_signs(wanted, moments.xx)
    step4 = layer.scale(4).expand(len(weight), 1)
    codes = calibrated_codes(weight, moments.tt, signs, step4)
    layer.weight.copy_(step4 * (codes - 7.5))
    level2 = torch.floor(codes / 4) - 1.5
    scale2 = least_squares_scale(weight, level2, moments.tt)
    layer.log_scale1.copy_(_like(scale1, layer.log_scale1).log())
    layer.log_scale2.copy_(_like(scale2, layer.log_scale2).log())


def calibrated_signs(weight: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns), (columns, columns) -> signs in {-1, 1} and their scales (rows, 1)."""
    scale = weight.abs().mean(dim=1, keepdim=True)
    for _ in range(SIGN_ROUNDS):
        signs = _sign(round_columns(weight, moments, _signs_times(scale[:, 0])))
        scale = least_squares_scale(weight, signs, moments)
    return signs, scale


def _signs_times(scale: Tensor) -> RoundColumn:
    return lambda column, _: scale * _sign(column)


def calibrated_codes(weight: Tensor, moments: Tensor, signs: Tensor, step: Tensor) -> Tensor:
    """4-bit codes 0..15 as float whose top bit says `signs`."""
    low = torch.where(signs > 0, 8.0, 0.0)

    def nearest(column: Tensor, index: int) -> Tensor:
        return torch.floor(column / step[:, 0] + 8).clamp(low[:, index], low[:, index] + 7)

    codes = torch.empty_like(weight)

    def round_column(column: Tensor, index: int) -> Tensor:
        codes[:, index] = nearest(column, index)
        return step[:, 0] * (codes[:, index] - 7.5)

    round_columns(weight, moments, round_column)
    return codes


def round_columns(weight: Tensor, moments: Tensor, round_column: RoundColumn) -> Tensor:
    """Round column after column, the most active first, each time correcting the columns still to come.

    `round_column(values (rows,), column)` gives the rounded column; returns the rounded (rows, columns).
    """
    order = torch.argsort(moments.diagonal(), descending=True)
    work = weight[:, order].clone()
    inverse = torch.linalg.inv(damped(moments)[order][:, order])
    factor = torch.linalg.cholesky(inverse, upper=True)
    rounded = torch.empty_like(weight)
    columns = order.tolist()
    for start in range(0, len(columns), COLUMN_BLOCK):
        stop = min(start + COLUMN_BLOCK, len(columns))
        errors = torch.empty(len(weight), stop - start)
        for j in range(start, stop):
            rounded[:, columns[j]] = round_column(work[:, j], columns[j])
            error = (work[:, j] - rounded[:, columns[j]]) / factor[j, j]
            work[:, j + 1 : stop] -= error[:, None] * factor[j, j + 1 : stop]
            errors[:, j - start] = error
        work[:, stop:] -= errors @ factor[start:stop, stop:]
    return rounded


def least_squares_scale(weight: Tensor, levels: Tensor, moments: Tensor) -> Tensor:
    """The scale (rows, 1) with which `levels` times inputs come nearest to `weight` times inputs."""
    weighted = levels @ moments
    scale = (weighted * weight).sum(dim=1, keepdim=True) / (weighted * levels).sum(dim=1, keepdim=True)
    return scale.clamp(min=SMALLEST_SCALE)


def damped(moments: Tensor) -> Tensor:
    return moments + _damping(moments) * torch.eye(len(moments))


def _damping(moments: Tensor) -> Tensor:
    return DAMPING * moments.diagonal().mean()


def _sign(values: Tensor) -> Tensor:
    return torch.where(values >= 0, 1.0, -1.0)


def _like(scale: Tensor, parameter: Tensor) -> Tensor:
    """One scale per row, or their mean where the layer has one."""
    return scale if parameter.numel() > 1 else scale.mean().view(1, 1)
