"""What each matrix of a trained network costs at 1, 2 and 4 bit, and the allocation of planes that follows from it.

Each matrix alone is rounded, with scales of least error weighed by what its inputs are; the divergence of the decoder's
and the CTC head's posteriors from full precision, on dev clips, says what that costs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onebit_model.config import WHOLE_SEGMENT, ModelConfig
from onebit_model.data.batching import epoch_batches, pad_audio
from onebit_model.data.corpora import Utterance
from onebit_model.errors import RecipeError
from onebit_model.files.allocation import EMBEDDING, Allocation
from onebit_model.files.layout import low_bit_layers, norm_specs, norms, piece_specs, tensor_specs
from onebit_model.network.allocation import PLANES, allocate
from onebit_model.network.assembly import network_from_checkpoint
from onebit_model.network.checkpoint import Checkpoint, load_checkpoint
from onebit_model.network.conformer import Conformer
from onebit_model.network.export import fp32_bytes
from onebit_model.network.frontend import LogMel
from onebit_model.network.greedy import greedy_pieces
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.network.quantizers import quantise, quantised_layers
from onebit_model.network.scale_fitting import fit_scales, input_squares
from onebit_model.text.piece_encoder import PieceEncoder
from onebit_model.training.losses import frame_divergence, piece_divergence
from onebit_model.training.outputs import Batch, Outputs, run
from onebit_model.training.processes import join
from onebit_model.training.recipe import load_recipe
from onebit_model.training.sources import Inputs
from onebit_model.training.stage import read_sources
from onebit_model.training.targets import ClipTargets, piece_targets

COMPRESSION = {1: 16.6, 2: 12.0}  # of the paper: the file at least so many times smaller than fp32
BATCH_SECONDS = 60.0
SAFETY_BYTES = 50_000  # for what the estimate of a file leaves out: the metadata, some 25 KB
# With 4 planes the embedding takes 7.2 of the 17 MB of a 1-bit file, and 0.6 MB are left for second planes of matrices;
# with 2 planes it is 4.1 MB. Rounding it to 2 bit, with error feedback, moves the posteriors by 0.36 nats, leaving all
# other matrices at 1 bit by 8.
EMBEDDING_EXCEPTIONS = Allocation({1: {EMBEDDING: 2}})


@dataclass(frozen=True)
class Sensitivity:
    """Divergence per layer and planes, in nats a piece plus nats a frame."""

    divergence: dict[str, dict[int, float]]

    def planes(self, config: ModelConfig, weights: Mapping[str, int], pieces_bytes: int) -> dict[str, dict[str, int]]:
        """The allocation for 1 and 2 bit within `COMPRESSION`, of a network whose decoder's texts have so many bytes.

        Divergences add up only where they are small: at 1 bit a matrix has more than 2 planes only where 2 bit gives
        it more. `weights`: how many each matrix has.
        """
        budgets = {
            bits: int(8 * (fp32_bytes(config) / ratio - fixed_bytes(config, bits, pieces_bytes) - SAFETY_BYTES))
            for bits, ratio in COMPRESSION.items()
        }
        two = allocate(self.divergence, weights, 2, budgets[2])
        one = allocate(self.divergence, weights, 1, budgets[1], dict.fromkeys(weights, 2) | two)
        chosen = {1: one, 2: two}
        return {str(b): {**layers, **EMBEDDING_EXCEPTIONS.exceptions.get(b, {})} for b, layers in chosen.items()}


def fixed_bytes(config: ModelConfig, bits: int, pieces_bytes: int) -> int:
    """Bytes of a file of one precision without the planes of its low-bit matrices, by the layout.

    The embedding and the pieces of the decoder, `pieces_bytes` of text, are counted.
    """
    named = {f"{norm}.{part}" for norm in norms(config) for part in ("weight", "bias")}
    specs = (
        tensor_specs(config, (bits,), EMBEDDING_EXCEPTIONS)
        | norm_specs(config, (bits,), named)
        | piece_specs(config, pieces_bytes)
    )
    planes = {f"{layer.name}.planes" for layer in low_bit_layers(config) if layer.name != EMBEDDING}
    entries = 180 * len(specs)  # name, shape, offsets and checksum of a tensor in the header
    return sum(spec.nbytes for name, spec in specs.items() if name not in planes) + entries


@torch.no_grad()
def measure(network: Conformer, batches: Sequence[Batch]) -> Sensitivity:
    """Quantises `network`, a trained plain one, in place and scans it."""
    device = next(network.parameters()).device
    network.eval()
    with input_squares(network) as squares, mixed_precision(device):
        reference = [run(network, batch).detached() for batch in batches]
    quantise(network, per_row=True, scheme="nested", private_norms=False)
    fit_scales(network, dict(squares))
    network.eval()
    divergence: dict[str, dict[int, float]] = {}
    for name, layer in quantised_layers(network).items():
        divergence[name] = {}
        after_encoder = name.startswith("decoder.")
        for planes in PLANES:
            layer.planes_override = planes
            with mixed_precision(device):
                losses = [
                    _loss(run(network, batch, encoded=known.encoded if after_encoder else None), known, batch)
                    for batch, known in zip(batches, reference, strict=True)
                ]
            divergence[name][planes] = sum(losses) / len(losses)
        layer.planes_override = None
    return Sensitivity(divergence)


def _loss(outputs: Outputs, reference: Outputs, batch: Batch) -> float:
    loss = frame_divergence(reference.frames, outputs.frames, batch.inputs.frames)
    if outputs.pieces is not None and reference.pieces is not None and batch.pieces is not None:
        loss = loss + piece_divergence(reference.pieces, outputs.pieces, batch.pieces.weights)
    return float(loss)


def table(recipe_path: Path, checkpoint_path: Path, output: Path, stride: int) -> Iterator[str]:
    """Markdown: the matrices by what they cost at 1 bit, with their planes; writes the allocation to `output`."""
    checkpoint = load_checkpoint(checkpoint_path)
    network, precision = network_from_checkpoint(checkpoint)
    if precision is not None or network.decoder is None:
        raise RecipeError(f"{checkpoint_path}: sensitivity is measured on a full-precision network with a decoder")
    sources = load_recipe(recipe_path).data.dev
    root = recipe_path.resolve().parent
    utterances = [u for source in sources for u in read_sources((source,), lambda name: (root / name).resolve())]
    network.to(join().device)
    sensitivity = measure(network, list(_batches(network, utterances[::stride])))
    weights = {name: layer.weight.numel() for name, layer in quantised_layers(network).items()}
    planes = sensitivity.planes(checkpoint.config, weights, _pieces_bytes(checkpoint))
    write_allocation(output, sensitivity, planes)
    yield "| matrix | 1 bit | 2 bit | 4 bit | planes at 1 bit | at 2 bit |"
    yield "|---|---|---|---|---|---|"
    for layer, row in sorted(sensitivity.divergence.items(), key=lambda item: -item[1][1]):
        cells = [f"{row[count]:.4f}" for count in PLANES]
        given = [str(planes[str(bits)].get(layer, bits)) for bits in COMPRESSION]
        yield f"| {layer} | {' | '.join(cells + given)} |"


def _pieces_bytes(checkpoint: Checkpoint) -> int:
    texts, _ = PieceEncoder.from_json(checkpoint.pieces).pieces.arrays()
    return texts.nbytes


@torch.no_grad()
def _batches(network: Conformer, utterances: Sequence[Utterance]) -> Iterator[Batch]:
    """The clips with what the network itself writes of them."""
    assert network.decoder is not None
    device = next(network.parameters()).device
    front_end = LogMel().to(device)
    network.eval()
    for indices in epoch_batches([u.duration_seconds for u in utterances], BATCH_SECONDS, 0, 0):
        samples, lengths = pad_audio([utterances[index].audio.read() for index in indices])
        mel, mel_frames = front_end(samples.to(device), lengths.to(device))
        inputs = Inputs(mel, mel_frames.cpu(), WHOLE_SEGMENT, mel)
        with mixed_precision(device):
            written = greedy_pieces(network.decoder, inputs.encode(network), mel_frames // 4)
        targets = [ClipTargets(torch.zeros(0, dtype=torch.int64), tuple(pieces)) for pieces in written]
        pieces = piece_targets(targets, len(network.decoder.embedding.weight), 0.0, np.random.default_rng(0))
        assert pieces is not None
        yield Batch(inputs, [target.tokens for target in targets], pieces.to(device))


def write_allocation(path: Path, sensitivity: Sensitivity, planes: Mapping[str, Mapping[str, int]]) -> None:
    """What a recipe's `quantize.allocation` names, with the scan that it comes from."""
    rounded = {
        layer: {str(count): float(f"{value:.4g}") for count, value in row.items()}
        for layer, row in sensitivity.divergence.items()
    }
    path.write_text(json.dumps({"planes": planes, "divergence": rounded}, indent=1) + "\n")
