"""The packed model file: one safetensors file for all precisions (docs/file-format.md)."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from onebit_model.config import PRECISIONS, ModelConfig
from onebit_model.errors import DamagedFileError, ModelFileError, UnsupportedBitsError
from onebit_model.files.allocation import Allocation
from onebit_model.files.calibration import Calibration
from onebit_model.files.layout import (
    PIECE_ENDS,
    PIECES,
    TensorSpec,
    low_bit_layers,
    norm_specs,
    piece_specs,
    tensor_specs,
)
from onebit_model.files.tables import parse_json, table_from
from onebit_model.files.tensor_file import FileKind, Tensors, check_shapes, read_tensor_file, write_tensor_file

KIND = FileKind("onebit", 2)


@dataclass(frozen=True)
class ModelDescription:
    """Everything in the file that is not a tensor."""

    config: ModelConfig
    vocabulary: tuple[str, ...]
    bits: tuple[int, ...]
    training: Mapping[str, object] = field(default_factory=dict)
    checkpoint_sha256: str = ""
    wer: Mapping[str, object] = field(default_factory=dict)
    allocation: Allocation = field(default_factory=Allocation)
    calibration: Calibration = field(default_factory=Calibration)
    alignment_heads: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.bits or any(b not in PRECISIONS for b in self.bits) or list(self.bits) != sorted(set(self.bits)):
            raise ModelFileError(f"bits must be a rising selection of {PRECISIONS}, not {list(self.bits)}")
        if len(self.vocabulary) != self.config.vocabulary_size or not all(isinstance(p, str) for p in self.vocabulary):
            raise ModelFileError(f"the vocabulary must be {self.config.vocabulary_size} pieces of text")
        config = self.config
        for block, head in self.alignment_heads:
            if not (0 <= block < config.decoder_blocks and 0 <= head < config.heads):
                raise ModelFileError(f"alignment head {head} of block {block} is none of this network's decoder")
        unknown = self.allocation.layers() - {layer.name for layer in low_bit_layers(self.config)}
        if unknown:
            raise ModelFileError(f"planes are allocated to {min(unknown)}, which is no low-bit layer of this network")

    @property
    def version(self) -> int:
        """The oldest format that can say all this: files that readers of version 1 understand stay as they were."""
        return 2 if self.config.has_decoder or self.allocation else 1

    def only(self, bits: Sequence[int]) -> ModelDescription:
        """The description of a file with these precisions alone."""
        return replace(
            self, bits=tuple(bits), allocation=self.allocation.only(bits), calibration=self.calibration.only(bits)
        )


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
        return sum(tensor.nbytes for tensor in select_precisions(self.tensors, self.description.only((bits,))).values())


def expected_specs(description: ModelDescription, tensors: Tensors) -> dict[str, TensorSpec]:
    """The tensors that a file of this description must hold; which norms are private and how long the pieces' bytes
    are is seen in `tensors`."""
    config, bits = description.config, description.bits
    pieces_bytes = tensors[PIECES].size if PIECES in tensors else 0
    return (
        tensor_specs(config, bits, description.allocation)
        | norm_specs(config, bits, set(tensors))
        | piece_specs(config, pieces_bytes)
    )


def select_precisions(tensors: Tensors, description: ModelDescription) -> Tensors:
    """The part of `tensors` that the description's precisions need: fewer planes, no foreign scales or private norms.

    Raises ModelFileError for a tensor that is missing.
    """
    names, bits = set(tensors), description.bits
    selected: Tensors = {}
    for name, spec in expected_specs(description, tensors).items():
        if name not in names:
            raise ModelFileError(f"the tensor {name} is missing")
        selected[name] = tensors[name][: spec.shape[0]] if name.endswith(".planes") else tensors[name]
    for name in norm_specs(description.config, bits, names):
        # A shared norm that every selected precision overrides is dead weight.
        if all(f"{name}{b}" in names for b in bits):
            del selected[name]
    return selected


def write_packed(path: str | Path, description: ModelDescription, tensors: Tensors) -> None:
    """Writes a file of the precisions in `description`; the same input gives the same bytes."""
    description = description.only(description.bits)
    selected = select_precisions(tensors, description)
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in selected.items()}
    _check(description, arrays)
    _check_values(arrays)
    metadata = {
        "config": description.config.to_json(),
        "vocabulary": json.dumps(description.vocabulary, ensure_ascii=False),
        "bits": json.dumps(description.bits),
        "training": json.dumps(description.training, sort_keys=True),
        "checkpoint_sha256": description.checkpoint_sha256,
        "wer": json.dumps(description.wer, sort_keys=True),
    }
    if description.version > 1:
        metadata |= {
            "planes": description.allocation.to_json(),
            "calibration": description.calibration.to_json(),
            "alignment_heads": json.dumps(description.alignment_heads),
        }
    write_tensor_file(Path(path), replace(KIND, version=description.version), metadata, arrays)


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


def model_config(text: str) -> ModelConfig:
    """The sizes that `ModelConfig.to_json` wrote; raises ModelFileError for what is missing, unknown or wrong."""
    place = "model config"
    values = parse_json(text, place, ModelFileError)
    config = table_from(values, ModelConfig, place, ModelFileError)
    if missing := [name for name in config.to_dict() if name not in cast("dict[str, object]", values)]:
        raise ModelFileError(f"{place}: missing: {', '.join(missing)}")
    return config


def _describe(metadata: dict[str, str]) -> ModelDescription:
    description = ModelDescription(
        config=model_config(metadata["config"]),
        vocabulary=tuple(json.loads(metadata["vocabulary"])),
        bits=tuple(json.loads(metadata["bits"])),
        training=json.loads(metadata["training"]),
        checkpoint_sha256=metadata["checkpoint_sha256"],
        wer=json.loads(metadata["wer"]),
        **({} if int(metadata["version"]) == 1 else _second_version(metadata)),
    )
    if int(metadata["version"]) < description.version:
        raise DamagedFileError("it says format version 1, which has no decoder")
    return description


def _second_version(metadata: dict[str, str]) -> dict[str, Any]:
    return {
        "allocation": Allocation.from_json(metadata["planes"]),
        "calibration": Calibration.from_json(metadata["calibration"]),
        "alignment_heads": tuple((int(block), int(head)) for block, head in json.loads(metadata["alignment_heads"])),
    }


def _check(description: ModelDescription, tensors: Tensors) -> None:
    found = {name: TensorSpec(a.dtype, a.shape) for name, a in tensors.items()}
    check_shapes(expected_specs(description, tensors), found)
    if description.config.has_decoder:
        ends = tensors[PIECE_ENDS].astype(np.int64)
        if (np.diff(ends, prepend=0) < 0).any() or ends[-1] != tensors[PIECES].size:
            raise ModelFileError(f"{PIECE_ENDS} do not rise to the number of bytes of {PIECES}")
