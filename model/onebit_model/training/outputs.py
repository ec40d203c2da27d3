"""What a network makes of a batch: encoder, CTC head, decoder, and what every block hands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from onebit_model.config import WHOLE_SEGMENT
from onebit_model.network.conformer import Conformer
from onebit_model.text.pieces import FIRST_BYTE
from onebit_model.training.sources import Inputs
from onebit_model.training.targets import PieceTargets


@dataclass(frozen=True)
class Batch:
    """Inputs with what they are to become."""

    inputs: Inputs
    tokens: list[Tensor]
    pieces: PieceTargets | None


@dataclass(frozen=True)
class Outputs:
    """Of one pass. `pieces` are log-probabilities where a piece is due, (n, pieces), None without a decoder."""

    frames: Tensor  # (batch, frames, tokens) log-probabilities of the CTC head
    pieces: Tensor | None
    encoded: Tensor  # (batch, frames, d_model): the encoder's output
    encoder_blocks: tuple[Tensor, ...]  # (batch, time, d_model), each at its own frame rate
    decoder_blocks: tuple[Tensor, ...]  # (batch, length, d_model)
    told: PieceTargets | None = None  # what the decoder was told, where that is not what the batch says

    def detached(self) -> Outputs:
        return Outputs(
            self.frames.detach(),
            None if self.pieces is None else self.pieces.detach(),
            self.encoded.detach(),
            tuple(block.detach() for block in self.encoder_blocks),
            tuple(block.detach() for block in self.decoder_blocks),
            self.told,
        )


@dataclass(frozen=True)
class OwnPieces:
    """A share of the pieces that the decoder is told are those that it would have written itself.

    Alone it reads what it wrote, mistakes and all. Drawn for all places at once, from a pass of its own (scheduled
    sampling: Bengio et al. 2015; for transformers Mihaylova and Martins 2019).
    """

    share: float
    rng: np.random.Generator

    @torch.no_grad()
    def __call__(self, network: Conformer, batch: Batch, encoded: Tensor) -> PieceTargets:
        assert network.decoder is not None
        assert batch.pieces is not None
        pieces = batch.pieces
        hidden = network.decoder(pieces.inputs, encoded, batch.inputs.frames.to(encoded.device))
        best = network.decoder.embedding.logits(hidden.flatten(0, 1)[pieces.positions]).argmax(dim=-1)
        drawn = torch.from_numpy(self.rng.random(len(best)) < self.share).to(best.device)
        goes_on = (pieces.weights > 0) & (pieces.labels >= FIRST_BYTE) & (best >= FIRST_BYTE)
        chosen = drawn & goes_on
        inputs = pieces.inputs.clone()
        inputs.view(-1)[pieces.positions[chosen] + 1] = best[chosen]
        return replace(pieces, inputs=inputs)


def run(
    network: Conformer,
    batch: Batch,
    ctc_gradient: float = 1.0,
    encoded: Tensor | None = None,
    own: OwnPieces | None = None,
) -> Outputs:
    """One pass over a batch at the network's current precision; from the encoder's output on where that is known.

    `ctc_gradient` is the share of the CTC head's gradient that goes on into the encoder: a fresh head would undo what a
    pretrained encoder knows.
    """
    with block_outputs(network.blocks) as encoder_blocks:
        encoded = batch.inputs.encode(network) if encoded is None else encoded
    frames = network.log_probabilities(torch.lerp(encoded.detach(), encoded, ctc_gradient))
    if network.decoder is None or batch.pieces is None:
        return Outputs(frames, None, encoded, tuple(encoder_blocks), ())
    told = batch.pieces if own is None else own(network, batch, encoded)
    with block_outputs(network.decoder.blocks) as decoder_blocks:
        hidden = network.decoder(told.inputs, encoded, batch.inputs.frames.to(encoded.device))
    due = hidden.flatten(0, 1)[told.positions]
    pieces = network.decoder.log_probabilities(due)
    return Outputs(frames, pieces, encoded, tuple(encoder_blocks), tuple(decoder_blocks), told)


class Teacher:
    """The frozen full-precision network on what the student hears, always in full context."""

    def __init__(self, network: Conformer) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Outputs:
        return run(self.network, replace(batch, inputs=replace(batch.inputs, chunk=WHOLE_SEGMENT)))


@contextmanager
def block_outputs(blocks: Sequence[nn.Module] | nn.Module) -> Iterator[list[Tensor]]:
    """Collect the output of every block that runs inside the context; of a decoder's blocks without their past."""
    collected: list[Tensor] = []

    def collect(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, object]) -> None:
        collected.append(output[0] if isinstance(output, tuple) else output)

    listed = blocks.children() if isinstance(blocks, nn.Module) else blocks
    handles = [block.register_forward_hook(collect) for block in listed]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()
