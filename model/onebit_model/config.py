"""Every size of the network in one place; it travels as JSON in checkpoints and in the packed file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal, NoReturn

from onebit_model.errors import ModelFileError

SAMPLE_RATE = 16_000
MEL_BINS = 80
MEL_FRAME_SAMPLES = 160  # 10 ms
OUTPUT_FRAME_SAMPLES = 640  # 40 ms; segments are zero-padded to a multiple of it
OUTPUT_FRAME_SECONDS = OUTPUT_FRAME_SAMPLES / SAMPLE_RATE
MAXIMUM_SEGMENT_SECONDS = 30
MAXIMUM_SEGMENT_SAMPLES = MAXIMUM_SEGMENT_SECONDS * SAMPLE_RATE
PRECISIONS = (1, 2, 4)

# What attention sees at once, in units of 80 ms.
Chunk = Literal[0, 8, 16]
LiveChunk = Literal[8, 16]
LiveFinals = Literal["chunks", "segment"]
"""What the attention decoder gets to see of a stream's segment: what its chunks have left, or the whole once more."""
WHOLE_SEGMENT: Chunk = 0
CHUNKS: dict[str, Chunk] = {"8": 8, "16": 16, "segment": WHOLE_SEGMENT}
CHUNK_UNIT_SAMPLES = SAMPLE_RATE * 80 // 1000

# What the kernels can compute: whole vectors, in sizes that keep integer sums within 32 bits. Their model_config.cpp
# refuses the rest, too; saying it here already refuses a recipe or file before anything is trained or served.
LARGEST_SIZE = 1 << 16
SIZE_MULTIPLES = {
    "d_model": 32,
    "feed_forward1": 16,
    "feed_forward2": 16,
    "max_positions": 2,
    "decoder_feed_forward": 16,
    "decoder_vocabulary_size": 16,
}
# 0 in all of them: a network with a CTC head alone.
DECODER_SIZES = ("decoder_blocks", "decoder_feed_forward", "decoder_vocabulary_size", "decoder_positions")
HEAD_MULTIPLE = 16
WIDEST_HEAD = 128


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the Conformer; the defaults are those of the shipped model."""

    mel_bins: int = MEL_BINS
    d_model: int = 512
    heads: int = 8
    blocks: int = 6
    feed_forward1: int = 1024
    feed_forward2: int = 2048
    convolution_kernel: int = 15
    average_after: int = 2
    vocabulary_size: int = 256
    left_chunks: int = 4
    max_positions: int = 1500
    decoder_blocks: int = 0
    decoder_feed_forward: int = 0
    decoder_vocabulary_size: int = 0
    decoder_positions: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            smallest = 0 if field.name in DECODER_SIZES else 1
            if type(value) is not int or not smallest <= value <= LARGEST_SIZE:
                _refuse(f"{field.name} must be a whole number from {smallest} to {LARGEST_SIZE}, not {value!r}")
        for name, quantum in SIZE_MULTIPLES.items():
            if getattr(self, name) % quantum:
                _refuse(f"{name} must be a multiple of {quantum}, not {getattr(self, name)}")
        head_dim, rest = divmod(self.d_model, self.heads)
        if rest or head_dim % HEAD_MULTIPLE or head_dim > WIDEST_HEAD:
            quotient = f"{self.d_model} / {self.heads}"
            _refuse(f"d_model / heads must be a multiple of {HEAD_MULTIPLE} up to {WIDEST_HEAD}, not {quotient}")
        if self.average_after > self.blocks:
            _refuse(f"average_after {self.average_after} exceeds blocks {self.blocks}")
        absent = [name for name in DECODER_SIZES if getattr(self, name) == 0]
        if absent and len(absent) < len(DECODER_SIZES):
            _refuse(f"{absent[0]} must not be 0 in a network with a decoder")

    @property
    def has_decoder(self) -> bool:
        """Whether the network has an attention decoder beside its CTC head."""
        return self.decoder_blocks > 0

    @property
    def outputs(self) -> int:
        """Outputs of the CTC head: the blank (token 0) and the pieces (1 .. vocabulary_size)."""
        return self.vocabulary_size + 1

    def to_dict(self) -> dict[str, int]:
        """Sizes by name; without those of a decoder where there is none, as before there was one."""
        sizes = dataclasses.asdict(self)
        return {name: size for name, size in sizes.items() if size or name not in DECODER_SIZES}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)


def _refuse(what: str) -> NoReturn:
    raise ModelFileError(what)
