"""What a training step minimises: plain CTC, or co-training of several precisions (arXiv 2505.21245)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from onebit_model.errors import RecipeError
from onebit_model.network.conformer import STEM_STRIDE, Conformer, average_pairs
from onebit_model.network.quantizers import Precision, QuantLinear, quantised_layers
from onebit_model.training.losses import (
    block_matching_loss,
    ctc_loss,
    distillation_loss,
    matching_loss,
    standardised_distance,
)
from onebit_model.training.recipe import QuantizeConfig
from onebit_model.training.sources import Inputs
from onebit_model.training.teachers import Encoding, Teacher, run


@dataclass(frozen=True)
class Batch:
    """Inputs with targets; `indices` are positions in the training list (for cached teacher outputs)."""

    indices: Sequence[int]
    inputs: Inputs
    targets: list[Tensor]


@dataclass(frozen=True)
class LossPart:
    """One term to back-propagate; terms of separate passes come one by one, so that memory holds one graph."""

    loss: Tensor
    values: dict[str, float]


class Objective(Protocol):
    def __call__(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]: ...


class CtcObjective:
    """CTC at the output and, with a weight, at the middle block through the same head (Lee and Watanabe, 2021)."""

    def __init__(self, intermediate_weight: float = 0.0) -> None:
        self.intermediate_weight = intermediate_weight

    def __call__(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        outputs, frames = run(network, batch.inputs), batch.inputs.frames
        loss = ctc_loss(outputs.posteriors, frames, batch.targets)
        values = {"ctc": loss.item()}
        if self.intermediate_weight:
            posteriors = network.log_probabilities(network.final_norm(_middle(network, outputs)))
            intermediate = ctc_loss(posteriors, frames, batch.targets)
            values["ctc_middle"] = intermediate.item()
            loss = (1 - self.intermediate_weight) * loss + self.intermediate_weight * intermediate
        yield LossPart(loss, values)


def _middle(network: Conformer, outputs: Encoding) -> Tensor:
    """The middle block's output, at the output's frame rate."""
    above = network.config.blocks - network.config.blocks // 2
    if network.config.blocks - above <= network.config.average_after or above >= len(outputs.blocks):
        raise RecipeError("intermediate_ctc needs the middle block above average_after and not below the cache")
    return outputs.blocks[-1 - above]


class CotrainingObjective:
    """One network at several precisions; `passes` is "one" (a draw per step) or "joint" (the paper's sum)."""

    def __init__(self, config: QuantizeConfig, precision: Precision, teacher: Teacher | None) -> None:
        self.config = config
        self.precision = precision
        self.teacher = teacher

    def __call__(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        self.precision.clip1 = self.config.one_bit_clip
        self.precision.ramp = min(1.0, progress / self.config.ramp) if self.config.ramp else 1.0
        self.precision.activations = progress >= self.config.activations_from
        if self.config.passes == "one":
            yield from self._one_pass(network, batch, progress, rng)
        else:
            yield from self._joint_passes(network, batch, progress, rng)

    def _one_pass(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        bits, mixed = draw_precision(self.config, rng)
        if progress < self.config.local_share:
            yield from self._block_by_block(network, batch, bits, progress / self.config.local_share, rng)
            return
        with_layers = draw_layers(network, progress, rng) if mixed else {}
        yield self._student(network, batch, bits, with_layers, self._teacher_outputs(batch), f"{bits}bit")

    def _block_by_block(
        self, network: Conformer, batch: Batch, bits: int, own: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        """Each block alone: with probability `own` on what the student's blocks below deliver, else on the teacher's.

        At first that would be noise; later it is what a block has to make up for.
        """
        teacher = self._teacher_outputs(batch)
        if teacher is None or not teacher.blocks:
            raise RecipeError('local_share needs a teacher, with teacher_input = "student"')
        self.precision.bits = bits
        chunk, name = batch.inputs.chunk, f"{bits}bit"
        frames = batch.inputs.lengths // STEM_STRIDE
        with torch.no_grad():
            entering = network.lower(batch.inputs.values, batch.inputs.lengths, chunk, 0)
        for index, output in enumerate(teacher.blocks):
            left = network.run_blocks(entering, frames, chunk, index, index + 1)
            averaged = index + 1 == network.config.average_after
            target, frames = (average_pairs(output), frames // 2) if averaged else (output, frames)
            distance = standardised_distance(target.float(), left.float(), frames)
            entering = left.detach() if rng.random() < own else target
            values = {f"block{index + 1}_{name}": distance.item()}
            if index + 1 < len(teacher.blocks):
                yield LossPart(distance, values)
        encoded = network.final_norm(left)
        outputs = Encoding(encoded, network.log_probabilities(encoded))
        last = self._compare(outputs, batch, teacher, name)
        yield LossPart(distance + last.loss, values | last.values)

    def _joint_passes(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        # 4 bit, 2 bit and full precision, each in a third of the steps on average.
        high = (4, 2, None)[int(rng.integers(3))]
        self.precision.bits = high
        high_outputs = run(network, batch.inputs)
        loss = ctc_loss(high_outputs.posteriors, batch.inputs.frames, batch.targets)
        target = high_outputs.detached()
        yield LossPart(loss, {"ctc_high": loss.item()})
        yield self._student(network, batch, 1, {}, target, "1bit")
        if self.config.stochastic_share:
            layers = draw_layers(network, progress, rng)
            yield self._student(network, batch, high, layers, target, "mixed")

    def _teacher_outputs(self, batch: Batch) -> Encoding | None:
        return None if self.teacher is None else self.teacher(batch.indices, batch.inputs)

    def _student(
        self,
        network: Conformer,
        batch: Batch,
        bits: int | None,
        layers: dict[QuantLinear, int],
        target: Encoding | None,
        name: str,
    ) -> LossPart:
        self.precision.bits = bits
        for layer, own in layers.items():
            layer.bits_override = own
        outputs = run(network, batch.inputs)
        for layer in layers:
            layer.bits_override = None
        return self._compare(outputs, batch, target, name)

    def _compare(self, outputs: Encoding, batch: Batch, target: Encoding | None, name: str) -> LossPart:
        """CTC with the labels, and everything that is matched with the target."""
        config, frames = self.config, batch.inputs.frames
        ctc = ctc_loss(outputs.posteriors, frames, batch.targets)
        values = {f"ctc_{name}": ctc.item()}
        loss = config.ctc_weight * ctc
        if target is not None and config.distillation_weight:
            divergence = distillation_loss(target.posteriors, outputs.posteriors, frames)
            values[f"kl_{name}"] = divergence.item()
            loss = loss + config.distillation_weight * divergence
        if target is not None and config.matching_weight:
            distance = matching_loss(target.encoded.float(), outputs.encoded.float(), frames)
            values[f"match_{name}"] = distance.item()
            loss = loss + config.matching_weight * distance
        if target is not None and target.blocks and outputs.blocks and config.block_matching_weight:
            distance = block_matching_loss(target.blocks, outputs.blocks, frames)
            values[f"blocks_{name}"] = distance.item()
            loss = loss + config.block_matching_weight * distance
        return LossPart(loss, values)


def draw_precision(config: QuantizeConfig, rng: np.random.Generator) -> tuple[int, bool]:
    """The precision of a one-pass step, and whether layers draw their own: (bits, mixed)."""
    others = [b for b in config.precisions if b != 1]
    if 1 in config.precisions and (not others or rng.random() < config.one_bit_share):
        return 1, False
    bits = int(rng.choice(others))
    return bits, bool(rng.random() < config.stochastic_share)


def draw_layers(network: Conformer, progress: float, rng: np.random.Generator) -> dict[QuantLinear, int]:
    """Stochastic precision: layers that run at 1 bit, with a probability rising with depth and with progress."""
    layers = list(quantised_layers(network).values())
    depth = np.linspace(0, 1, len(layers))
    base = 0.2 * (0.9 / 0.2) ** depth  # log-linear from 0.2 to 0.9
    probability = base + (1 - base) * progress
    return {layer: 1 for layer, p in zip(layers, probability, strict=True) if rng.random() < p}
