"""The frozen full-precision model that co-training learns from: stored outputs, or run beside the student."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from onebit_model.network.conformer import SEGMENT, Conformer
from onebit_model.training.feature_cache import FeatureCache
from onebit_model.training.sources import Inputs


@dataclass(frozen=True)
class Encoding:
    """What a network made of a batch."""

    encoded: Tensor  # (batch, frames, d_model) after the final norm
    posteriors: Tensor  # (batch, frames, tokens) log-probabilities
    blocks: tuple[Tensor, ...] = ()  # output of every block, (batch, time, d_model), at its own frame rate

    def detached(self) -> "Encoding":
        return Encoding(self.encoded.detach(), self.posteriors.detach(), tuple(b.detach() for b in self.blocks))


def run(network: Conformer, inputs: Inputs) -> Encoding:
    """Encode a batch and keep the outputs of the blocks that ran."""
    with block_outputs(network) as blocks:
        encoded = inputs.encode(network)
    return Encoding(encoded, network.log_probabilities(encoded), tuple(blocks))


@contextmanager
def block_outputs(network: Conformer) -> Iterator[list[Tensor]]:
    """Collect the output of every block that runs inside the context."""
    collected: list[Tensor] = []

    def collect(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        collected.append(output)

    handles = [block.register_forward_hook(collect) for block in network.blocks]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


class Teacher(Protocol):
    def __call__(self, indices: Sequence[int], inputs: Inputs) -> Encoding:
        """Targets for the utterances at `indices`, whose student input is `inputs`."""
        ...


class CachedTeacher:
    """Encoder outputs of clean audio with full context, stored once; of the inputs only the device matters."""

    def __init__(self, cache: FeatureCache, network: Conformer) -> None:
        self.cache = cache
        self.head = network.head.requires_grad_(False)

    @torch.no_grad()
    def __call__(self, indices: Sequence[int], inputs: Inputs) -> Encoding:
        encoded, _ = self.cache.batch(indices)
        encoded = encoded.to(inputs.values.device)
        return Encoding(encoded, torch.log_softmax(self.head(encoded).float(), dim=-1))


class LiveTeacher:
    """The full-precision network on the student's own input, blocks included: costs a forward pass a step.

    It always has full context, so that a student that sees chunks learns from a teacher that is not short of it.
    """

    def __init__(self, network: Conformer) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, indices: Sequence[int], inputs: Inputs) -> Encoding:
        return run(self.network, replace(inputs, chunk=SEGMENT))
