"""What a training step minimises: hybrid CTC/attention, or co-training of several precisions (arXiv 2505.21245)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from onebit_model.errors import RecipeError
from onebit_model.network.conformer import Block, Conformer
from onebit_model.network.decoder import DecoderBlock
from onebit_model.network.quantizers import Precision, QuantLinear, quantised_layers
from onebit_model.training.losses import (
    ctc_loss,
    frame_divergence,
    mean_distance,
    piece_divergence,
    piece_loss,
    seen_distance,
    valid_frames,
)
from onebit_model.training.outputs import Batch, Outputs, OwnPieces, Teacher, run
from onebit_model.training.recipe import ObjectiveConfig, QuantizeConfig, QuantizeSchedule
from onebit_model.training.whisper_teacher import WhisperTeacher

STOCHASTIC_FIRST, STOCHASTIC_LAST = 0.2, 0.9  # probability of 1 bit in the first and the last layer, at the start


@dataclass(frozen=True)
class LossPart:
    """One term to back-propagate; terms of separate passes come one by one, so that memory holds one graph."""

    loss: Tensor
    values: dict[str, Tensor]


class Objective(Protocol):
    def __call__(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]: ...


@dataclass(frozen=True)
class HybridObjective:
    """Cross-entropy of the decoder's pieces and CTC (Watanabe et al. 2017); CTC alone without a decoder.

    With a weight, CTC at the middle block through the same head (Lee and Watanabe, 2021). With a teacher, what Whisper
    makes of the same audio: its posteriors of the pieces and its encoder's output.
    """

    config: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    whisper: WhisperTeacher | None = None

    def __call__(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        target = None if self.whisper is None or batch.pieces is None else self.whisper(batch)
        outputs = run(network, batch, self.config.ctc_gradient)
        ctc = ctc_loss(outputs.frames, batch.inputs.frames, batch.tokens)
        values = {"ctc": ctc.detach()}
        if share := self.config.intermediate_ctc:
            posteriors = network.log_probabilities(network.final_norm(_middle(network, outputs)))
            intermediate = ctc_loss(posteriors, batch.inputs.frames, batch.tokens)
            values["ctc_middle"] = intermediate.detach()
            ctc = (1 - share) * ctc + share * intermediate
        if outputs.pieces is None or batch.pieces is None:
            yield LossPart(ctc, values)
            return
        pieces = piece_loss(outputs.pieces, batch.pieces, self.config.soft_share)
        values["pieces"] = pieces.detach()
        loss = pieces + self.config.ctc_weight * ctc
        if target is not None:
            spoken = batch.pieces.weights * batch.pieces.spoken
            divergence = piece_divergence(target.pieces, outputs.pieces, spoken)
            valid = valid_frames(outputs.encoded.shape[1], batch.inputs.frames.to(outputs.encoded.device))
            distance = seen_distance(nn.Identity(), target.encoded, outputs.encoded, valid)
            values |= {"kl": divergence.detach(), "distance": distance.detach()}
            loss = loss + self.config.whisper_divergence * divergence + self.config.whisper_distance * distance
        yield LossPart(loss, values)


def _middle(network: Conformer, outputs: Outputs) -> Tensor:
    """The middle block's output, at the output's frame rate."""
    middle = network.config.blocks // 2
    if middle <= network.config.average_after:
        raise RecipeError("intermediate_ctc needs the middle block above average_after")
    return outputs.encoder_blocks[middle - 1]


@dataclass(frozen=True)
class Pass:
    """A pass of the student: its name in the log, its precision, planes of layers that have others, what it is told."""

    name: str
    bits: int | None
    layers: dict[QuantLinear, int] = field(default_factory=dict)
    own: OwnPieces | None = None


@dataclass(frozen=True)
class CotrainingObjective:
    """One network at several precisions; `passes` is "one" (a draw per step) or "joint" (the paper's sum)."""

    config: QuantizeConfig
    precision: Precision
    teacher: Teacher | None
    soft_share: float = 0.0

    def __call__(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        schedule = self.config.schedule
        self.precision.clip1 = schedule.one_bit_clip
        self.precision.ramp = min(1.0, progress / schedule.ramp) if schedule.ramp else 1.0
        self.precision.activations = progress >= schedule.activations_from
        if schedule.passes == "joint":
            yield from self._joint_passes(network, batch, progress, rng)
            return
        bits, mixed = draw_precision(schedule, rng)
        layers = (
            draw_layers(network, progress, rng) if mixed else growing_layers(network, schedule, bits, progress, rng)
        )
        own = OwnPieces(schedule.own_pieces, rng) if schedule.own_pieces else None
        yield self._student(network, batch, Pass(f"{bits}bit", bits, layers, own), self.teacher)

    def _joint_passes(
        self, network: Conformer, batch: Batch, progress: float, rng: np.random.Generator
    ) -> Iterator[LossPart]:
        # 4 bit, 2 bit and full precision, each in a third of the steps on average.
        high = (4, 2, None)[int(rng.integers(3))]
        yield (first := self._student(network, batch, Pass("high", high), None))
        target = first.outputs
        yield self._student(network, batch, Pass("1bit", 1), target)
        if self.config.schedule.stochastic_share:
            layers = draw_layers(network, progress, rng)
            yield self._student(network, batch, Pass("mixed", high, layers), target)

    def _student(self, network: Conformer, batch: Batch, how: Pass, target: Outputs | Teacher | None) -> StudentPart:
        self.precision.bits = how.bits
        for layer, planes in how.layers.items():
            layer.planes_override = planes
        outputs = run(network, batch, own=how.own)
        for layer in how.layers:
            layer.planes_override = None
        if isinstance(target, Teacher):
            target = target(replace(batch, pieces=outputs.told))
        terms = self._terms(network, outputs, batch, target)
        loss = sum((weight * term for weight, term in terms.values()), start=outputs.frames.new_zeros(()))
        values = {f"{key}_{how.name}": term.detach() for key, (_, term) in terms.items()}
        return StudentPart(loss, values, outputs.detached())

    def _terms(
        self, network: Conformer, outputs: Outputs, batch: Batch, target: Outputs | None
    ) -> dict[str, tuple[float, Tensor]]:
        """What is learned from the labels and what from the target, with their weights."""
        losses, frames = self.config.losses, batch.inputs.frames
        terms: dict[str, tuple[float, Tensor]] = {}
        if losses.ctc:
            terms["ctc"] = losses.ctc, ctc_loss(outputs.frames, frames, batch.tokens)
        if outputs.pieces is not None and batch.pieces is not None and losses.pieces:
            terms["pieces"] = losses.pieces, piece_loss(outputs.pieces, batch.pieces, self.soft_share)
        if target is None:
            return terms
        if losses.frame_divergence:
            terms["ctc_kl"] = losses.frame_divergence, frame_divergence(target.frames, outputs.frames, frames)
        if target.pieces is not None and outputs.pieces is not None and batch.pieces is not None and losses.divergence:
            divergence = piece_divergence(target.pieces, outputs.pieces, batch.pieces.weights)
            terms["kl"] = losses.divergence, divergence
        if losses.blocks and self.teacher is not None:
            terms["blocks"] = losses.blocks, block_distance(self.teacher.network, target, outputs, batch)
        return terms


@dataclass(frozen=True)
class StudentPart(LossPart):
    """With what the pass said, for those that learn from it."""

    outputs: Outputs


def block_distance(teacher: Conformer, target: Outputs, outputs: Outputs, batch: Batch) -> Tensor:
    """Mean distance of what every block hands on, behind the teacher's norm that follows it."""
    device = outputs.frames.device
    frames = batch.inputs.frames.to(device)
    slowest = outputs.frames.shape[1]
    valid = [valid_frames(block.shape[1], frames * (block.shape[1] // slowest)) for block in target.encoder_blocks]
    distance = mean_distance(encoder_norms(teacher), target.encoder_blocks, outputs.encoder_blocks, valid)
    if teacher.decoder is None or batch.pieces is None or not outputs.decoder_blocks:
        return distance
    rows, length = batch.pieces.inputs.shape
    due = distance.new_zeros(rows * length)
    due[batch.pieces.positions] = (batch.pieces.weights > 0).to(due.dtype)
    told = [due.view(rows, length)] * len(target.decoder_blocks)
    norms = decoder_norms(teacher.decoder.blocks, teacher.decoder.norm)
    return distance + mean_distance(norms, target.decoder_blocks, outputs.decoder_blocks, told)


def encoder_norms(network: Conformer) -> list[nn.Module]:
    """The norm that reads each block's output: of the next block, at last the final one."""
    following = [block.ff1.norm for block in network.blocks if isinstance(block, Block)]
    return [*following[1:], network.final_norm]


def decoder_norms(blocks: nn.ModuleList, last: nn.Module) -> list[nn.Module]:
    following = [block.self_attention.norm for block in blocks if isinstance(block, DecoderBlock)]
    return [*following[1:], last]


def draw_precision(schedule: QuantizeSchedule, rng: np.random.Generator) -> tuple[int, bool]:
    """The precision of a one-pass step, and whether layers draw their own: (bits, mixed)."""
    shares = np.array(schedule.shares) / sum(schedule.shares)
    bits = int(rng.choice(schedule.precisions, p=shares))
    return bits, bits > 1 and bool(rng.random() < schedule.stochastic_share)


def growing_layers(
    network: Conformer, schedule: QuantizeSchedule, bits: int, progress: float, rng: np.random.Generator
) -> dict[QuantLinear, int]:
    """Layers that still run at 4 bit: a share that shrinks to none, because all at once would be noise."""
    grow = schedule.one_bit_grow or schedule.grow if bits == 1 else schedule.grow
    if progress >= grow:
        return {}
    low = schedule.first_share + (1 - schedule.first_share) * progress / grow
    return {layer: 4 for layer in quantised_layers(network).values() if rng.random() >= low}


def draw_layers(network: Conformer, progress: float, rng: np.random.Generator) -> dict[QuantLinear, int]:
    """Stochastic precision: layers as at 1 bit, with a probability rising with depth and with progress."""
    layers = list(quantised_layers(network).values())
    depth = np.linspace(0, 1, len(layers))
    base = STOCHASTIC_FIRST * (STOCHASTIC_LAST / STOCHASTIC_FIRST) ** depth  # log-linear
    probability = base + (1 - base) * progress
    return {layer: layer.planes[1] for layer, p in zip(layers, probability, strict=True) if rng.random() < p}
