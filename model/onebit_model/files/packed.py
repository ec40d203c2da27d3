"""The packed model file: one safetensors file for all precisions (docs/file-format.md)."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onebit_model.config import PRECISIONS, ModelConfig
from onebit_model.errors import ModelFileError, UnsupportedBitsError
from onebit_model.files.layout import TensorSpec, norm_specs, tensor_specs
from onebit_model.files.tensor_file import FileKind, Tensors, check_shapes, read_tensor_file, write_tensor_file

KIND = FileKind("onebit", 1)


@dataclass(frozen=True)
class ModelDescription:
    """Everything in the file that is not a tensor."""

    config: ModelConfig
    vocabulary: tuple[str, ...]
    bits: tuple[int, ...]
    training: Mapping[str, object] = field(default_factory=dict)
    checkpoint_sha256: str = ""
    wer: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.bits or any(b not in PRECISIONS for b in self.bits) or list(self.bits) != sorted(set(self.bits)):
            raise ModelFileError(f"bits must be a rising selection of {PRECISIONS}, not {list(self.bits)}")
        if len(self.vocabulary) != self.config.vocabulary_size or not all(isinstance(p, str) for p in self.vocabulary):
            raise ModelFileError(f"the vocabulary must be {self.config.vocabulary_size} pieces of text")


@dataclass(frozen=True)
class PackedModel:
    """A checked file: its description and read-only arrays that are mapped from it."""

    path: Path
    description: ModelDescription
    tensors: Tensors
    file_bytes: int
    mapping: mmap.mmap | None = field(default=None, repr=False, compare=False)

    def release_pages(self) -> None:
        """What was read of the file no longer counts as memory of this process; it is read again where it is needed."""
        if self.mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)

    @property
    def config(self) -> ModelConfig:
        return self.description.config

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.description.vocabulary

    @property
    def bits(self) -> tuple[int, ...]:
        return self.description.bits

    def require(self, bits: int) -> int:
        if bits not in self.bits:
            raise UnsupportedBitsError(bits, self.bits)
        return bits

    def bytes_for(self, bits: int) -> int:
        """Bytes of tensors that a file with this precision alone would hold."""
        self.require(bits)
        return sum(tensor.nbytes for tensor in select_precisions(self.tensors, self.config, (bits,)).values())


def expected_specs(config: ModelConfig, bits: Sequence[int], names: set[str]) -> dict[str, TensorSpec]:
    return tensor_specs(config, bits) | norm_specs(config, bits, names)


def select_precisions(tensors: Tensors, config: ModelConfig, bits: Sequence[int]) -> Tensors:
    """The part of `tensors` that these precisions need: fewer planes, no foreign scales or private norms."""
    names = set(tensors)
    selected: Tensors = {}
    for name in expected_specs(config, bits, names):
        tensor = tensors[name]
        selected[name] = tensor[: max(bits)] if name.endswith(".planes") else tensor
    for name in norm_specs(config, bits, names):
        # A shared norm that every selected precision overrides is dead weight.
        if all(f"{name}{b}" in names for b in bits):
            del selected[name]
    return selected


def write_packed(path: str | Path, description: ModelDescription, tensors: Tensors) -> None:
    """Writes a file of the precisions in `description`; the same input gives the same bytes."""
    selected = select_precisions(tensors, description.config, description.bits)
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in selected.items()}
    specs = expected_specs(description.config, description.bits, set(arrays))
    check_shapes(specs, {name: TensorSpec(a.dtype, a.shape) for name, a in arrays.items()})
    _check_values(arrays)
    metadata = {
        "config": description.config.to_json(),
        "vocabulary": json.dumps(description.vocabulary, ensure_ascii=False),
        "bits": json.dumps(description.bits),
        "training": json.dumps(description.training, sort_keys=True),
        "checkpoint_sha256": description.checkpoint_sha256,
        "wer": json.dumps(description.wer, sort_keys=True),
    }
    write_tensor_file(Path(path), KIND, metadata, arrays)


def _check_values(arrays: Tensors) -> None:
    for name, array in arrays.items():
        if array.dtype == np.float16 and not np.isfinite(array).all():
            raise ModelFileError(f"{name} holds values that float16 cannot")
        if ".scale" in name and not (array > 0).all():  # type: ignore[operator]
            raise ModelFileError(f"{name} holds scales that are not positive")


def read_packed(path: str | Path) -> PackedModel:
    """Maps and checks a packed file; raises a ModelFileError that says what is wrong with which file."""
    path = Path(path)
    file = read_tensor_file(path, KIND, _describe, _check)
    return PackedModel(path, file.description, file.tensors, file.file_bytes, file.mapping)


def _describe(metadata: dict[str, str]) -> ModelDescription:
    return ModelDescription(
        config=ModelConfig.from_json(metadata["config"]),
        vocabulary=tuple(json.loads(metadata["vocabulary"])),
        bits=tuple(json.loads(metadata["bits"])),
        training=json.loads(metadata["training"]),
        checkpoint_sha256=metadata["checkpoint_sha256"],
        wer=json.loads(metadata["wer"]),
    )


def _check(description: ModelDescription, tensors: Tensors) -> None:
    found = {name: TensorSpec(a.dtype, a.shape) for name, a in tensors.items()}
    check_shapes(expected_specs(description.config, description.bits, set(tensors)), found)
