"""A small packed model whose decoder writes a chosen text whatever it hears; everything else in it is random.

The real engine runs it. The blocks of the decoder add nothing, and its positions look like the pieces that are due.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onebit_model.config import ModelConfig
from onebit_model.files.allocation import EMBEDDING, Allocation
from onebit_model.files.calibration import Calibration
from onebit_model.files.layout import (
    PIECE_ENDS,
    PIECES,
    POSITIONS,
    LowBitLayer,
    low_bit_layers,
    low_bit_weights,
    norm_specs,
    pack_planes,
    tensor_specs,
)
from onebit_model.files.packed import ModelDescription, Tensors, write_packed
from onebit_model.text.pieces import END, NO_SPEECH, PROMPT, SINGLE_BYTES, SPECIALS, Pieces

CONFIG = ModelConfig(
    d_model=64,
    heads=2,
    blocks=2,
    feed_forward1=96,
    feed_forward2=96,
    convolution_kernel=7,
    average_after=1,
    vocabulary_size=27,
    decoder_blocks=2,
    decoder_feed_forward=96,
    decoder_vocabulary_size=len(SPECIALS) + 256 + 10,
    decoder_positions=160,
)
VOCABULARY = ("\u2581", *"abcdefghijklmnopqrstuvwxyz")
MERGED = (b" the", b" a", b" He", b"llo", b", ", b" is", b" it", b"er", b"in", b" w")
WRITTEN = Pieces((*[b""] * len(SPECIALS), *SINGLE_BYTES, *MERGED))
ALLOCATION = Allocation({1: {"blocks.1.attention.key": 4, "decoder.blocks.0.feed_forward.down": 2}})
CALIBRATION = Calibration({4: ((0.0, 0.0), (1.0, 0.8))})
CERTAIN = 6.0  # how much louder the position of a piece is than the piece before it


def write_scripted_model(path: Path, text: str, *, deaf: bool = False, no_speech: bool = False) -> None:
    """The CTC head of a `deaf` model hears blanks alone; with `no_speech` the decoder thinks that nobody speaks."""
    tensors = _random_tensors(CONFIG)
    if deaf:
        tensors["head.bias"] = np.where(np.arange(CONFIG.outputs) == 0, 50, 0).astype(np.float16)
    for name in [name for name in tensors if name.startswith("decoder.blocks") and not name.endswith(".planes")]:
        # Scales must not be zero.
        tensors[name] = np.full_like(tensors[name], 1e-6 if ".scale" in name else 0)
    tensors["decoder.norm.weight"] = np.full(CONFIG.d_model, 3, np.float16)
    tensors["decoder.norm.bias"] = np.zeros(CONFIG.d_model, np.float16)
    tensors[PIECES], tensors[PIECE_ENDS] = WRITTEN.arrays()
    script = [NO_SPEECH, END] if no_speech else [*pieces_of(text), END]
    rows = low_bit_weights(tensors, LowBitLayer(EMBEDDING, len(WRITTEN), CONFIG.d_model), 4)
    positions = np.zeros((CONFIG.decoder_positions, CONFIG.d_model), np.float32)
    positions[len(PROMPT) - 1 : len(PROMPT) - 1 + len(script)] = CERTAIN * rows[script]
    tensors[POSITIONS] = positions.astype(np.float16)
    training = {"script": text}
    description = ModelDescription(
        CONFIG, VOCABULARY, (1, 2, 4), training, "5c" * 32, {}, ALLOCATION, CALIBRATION, ((1, 0), (1, 1))
    )
    write_packed(path, description, tensors)


def write_ctc_model(path: Path) -> None:
    """The same without a decoder: format version 1."""
    config = replace(CONFIG, decoder_blocks=0, decoder_feed_forward=0, decoder_vocabulary_size=0, decoder_positions=0)
    write_packed(path, ModelDescription(config, VOCABULARY, (1, 2, 4), {}, "5c" * 32), _random_tensors(config))


def pieces_of(text: str) -> list[int]:
    """The longest piece, again and again."""
    data = (" " + text).encode()
    ids = {piece: i for i, piece in enumerate(WRITTEN.pieces) if piece}
    found = []
    while data:
        piece = max((piece for piece in ids if data.startswith(piece)), key=len)
        found.append(ids[piece])
        data = data[len(piece) :]
    return found


def _random_tensors(config: ModelConfig) -> Tensors:
    """Unit variance through every layer, as in a trained network."""
    random = np.random.default_rng(5)
    bits = (1, 2, 4)
    allocation = ALLOCATION if config.has_decoder else Allocation()
    tensors: Tensors = {}
    for name, spec in (tensor_specs(config, bits, allocation) | norm_specs(config, bits, set())).items():
        if name.endswith(".int8"):
            tensors[name] = random.integers(-127, 128, spec.shape).astype(np.int8)
        elif name.endswith("norm.weight"):
            tensors[name] = random.uniform(0.5, 1.5, spec.shape).astype(np.float16)
        elif spec.dtype == np.float16:
            tensors[name] = random.normal(0, 0.1, spec.shape).astype(np.float16)
    for layer in low_bit_layers(config):
        tensors |= _low_bit(layer, allocation, random)
    for name in [name for name in tensors if name.endswith(".scale8")]:
        columns = tensors[name.replace("scale8", "int8")].shape[1]
        tensors[name] = np.full(tensors[name].shape, 1 / (73 * np.sqrt(columns)), np.float16)
    return tensors


def _low_bit(layer: LowBitLayer, allocation: Allocation, random: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    codes = np.clip(np.floor(random.standard_normal((layer.outputs, layer.inputs)) / 0.3) + 8, 0, 15)
    used = allocation.used(layer.name, (1, 2, 4))
    tensors: dict[str, NDArray[np.generic]] = {
        f"{layer.name}.planes": pack_planes(codes.astype(np.uint8), max(used)),
    }
    for planes in used:
        scale = {1: 0.8, 2: 1.11, 4: 0.3}[planes] / np.sqrt(layer.inputs)
        tensors[f"{layer.name}.scale{planes}"] = np.full(layer.outputs, scale, np.float16)
    return tensors
