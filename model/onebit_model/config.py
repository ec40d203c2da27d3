"""Every size of the network in one place; it travels as JSON in checkpoints and in the packed file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from onebit_model.errors import ModelFileError

SAMPLE_RATE = 16_000
MEL_FRAME_SAMPLES = 160
OUTPUT_FRAME_SAMPLES = 640
OUTPUT_FRAME_SECONDS = OUTPUT_FRAME_SAMPLES / SAMPLE_RATE
MAXIMUM_SEGMENT_SECONDS = 30
PRECISIONS = (1, 2, 4)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the Conformer; the defaults are those of the shipped model."""

    mel_bins: int = 80
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

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ModelFileError(f"model config: {field.name} must be a positive whole number, not {value!r}")
        if self.d_model % self.heads or self.d_model % 2:
            raise ModelFileError(
                f"model config: d_model {self.d_model} must be even and a multiple of heads {self.heads}"
            )
        if self.average_after > self.blocks:
            raise ModelFileError(f"model config: average_after {self.average_after} exceeds blocks {self.blocks}")

    @property
    def outputs(self) -> int:
        """Outputs of the CTC head: the blank (token 0) and the pieces (1 .. vocabulary_size)."""
        return self.vocabulary_size + 1

    def to_dict(self) -> dict[str, int]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ModelConfig:
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
            raise ModelFileError(f"model config: missing {missing}, unknown {unknown}")
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks every type

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelFileError(f"model config is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ModelFileError("model config is not a JSON object")
        return cls.from_dict(values)
