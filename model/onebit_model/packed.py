"""The packed model file: one safetensors file for all precisions (docs/file-format.md).

Reading maps the file instead of copying it; nothing of it is used before name, version, length, every shape and
dtype and the SHA-256 of every tensor have been checked.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from onebit_model.config import PRECISIONS, ModelConfig
from onebit_model.errors import DamagedFileError, ForeignFileError, ModelFileError, NewerFileError, UnsupportedBitsError
from onebit_model.layout import TensorSpec, norm_specs, tensor_specs

FORMAT = "onebit"
VERSION = 1
LENGTH_BYTES = 8
MAXIMUM_HEADER_BYTES = 16 << 20
DTYPES: dict[str, np.dtype[np.generic]] = {"F16": np.dtype("<f2"), "U8": np.dtype("u1"), "I8": np.dtype("i1")}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
FILE_BYTES_DIGITS = 12
MAXIMUM_SIZE = 1 << 40

Tensors = dict[str, npt.NDArray[np.generic]]


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


# Writing


def write_packed(path: str | Path, description: ModelDescription, tensors: Tensors) -> None:
    """Writes a file of the precisions in `description`; the same input gives the same bytes."""
    selected = select_precisions(tensors, description.config, description.bits)
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in selected.items()}
    specs = expected_specs(description.config, description.bits, set(arrays))
    _check_shapes(specs, {name: TensorSpec(a.dtype, a.shape) for name, a in arrays.items()})
    _check_values(arrays)
    # Two-byte tensors first, so that every tensor is aligned although the format has no padding between them.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header = _header(description, arrays, order)
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(len(header).to_bytes(LENGTH_BYTES, "little") + header)
        for name in order:
            file.write(arrays[name].tobytes())
    partial.replace(path)


def _header(description: ModelDescription, arrays: Tensors, order: Sequence[str]) -> bytes:
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "config": description.config.to_json(),
        "vocabulary": json.dumps(description.vocabulary, ensure_ascii=False),
        "bits": json.dumps(description.bits),
        "training": json.dumps(description.training, sort_keys=True),
        "checkpoint_sha256": description.checkpoint_sha256,
        "wer": json.dumps(description.wer, sort_keys=True),
        "tensor_sha256": json.dumps({name: _digest(arrays[name]) for name in sorted(order)}),
        "file_bytes": "0" * FILE_BYTES_DIGITS,
    }
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for name in order:
        array = arrays[name]
        end = offset + array.nbytes
        header[name] = {"dtype": DTYPE_NAMES[array.dtype], "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    # The length is part of what it counts: fixed digits first, the number afterwards.
    metadata["metadata_sha256"] = _metadata_digest(metadata)
    length = LENGTH_BYTES + len(_encoded(header)) + offset
    metadata["file_bytes"] = f"{length:0{FILE_BYTES_DIGITS}d}"
    metadata["metadata_sha256"] = _metadata_digest(metadata)
    return _encoded(header)


def _metadata_digest(metadata: Mapping[str, str]) -> str:
    others = {key: value for key, value in metadata.items() if key != "metadata_sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _encoded(header: Mapping[str, object]) -> bytes:
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def file_sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(array: npt.NDArray[np.generic]) -> str:
    return hashlib.sha256(array.data).hexdigest()


def _check_values(arrays: Tensors) -> None:
    for name, array in arrays.items():
        if array.dtype == np.float16 and not np.isfinite(array).all():
            raise ModelFileError(f"{name} holds values that float16 cannot")
        if ".scale" in name and not (array > 0).all():  # type: ignore[operator]
            raise ModelFileError(f"{name} holds scales that are not positive")


# Reading


def read_packed(path: str | Path) -> PackedModel:
    """Maps and checks a packed file; raises a ModelFileError that says what is wrong with which file."""
    path = Path(path)
    try:
        header, data_start, file_bytes = _read_header(path)
        description, metadata = _describe(header)
        _check_length(metadata, file_bytes)
        mapping = _map(path)
        tensors = _tensors(mapping, header, data_start)
        found = {name: TensorSpec(a.dtype, a.shape) for name, a in tensors.items()}
        _check_shapes(expected_specs(description.config, description.bits, set(tensors)), found)
        _check_digests(tensors, metadata)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ModelFileError as error:
        raise type(error)(f"{path}: {error}") from error
    return PackedModel(path, description, tensors, file_bytes, mapping)


def _read_header(path: Path) -> tuple[dict[str, object], int, int]:
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES + 1)
        if not start:
            raise DamagedFileError("the file is empty")
        length = int.from_bytes(start[:LENGTH_BYTES], "little")
        if len(start) <= LENGTH_BYTES or start[LENGTH_BYTES:] != b"{" or not 2 <= length <= MAXIMUM_HEADER_BYTES:
            if len(start) <= LENGTH_BYTES:
                raise DamagedFileError(f"the file has only {file_bytes} bytes: truncated, or not a model")
            raise ForeignFileError("not a safetensors file")
        if LENGTH_BYTES + length > file_bytes:
            raise DamagedFileError(
                f"truncated inside its header: {file_bytes} bytes of at least {LENGTH_BYTES + length}"
            )
        text = start[LENGTH_BYTES:] + file.read(length - 1)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise DamagedFileError(f"its header cannot be read ({error})") from error
    return header, LENGTH_BYTES + length, file_bytes


def _describe(header: dict[str, object]) -> tuple[ModelDescription, dict[str, str]]:
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ForeignFileError("a safetensors file, but not one of onebit")
    version = str(metadata.get("version"))
    if not version.isascii() or not version.isdigit() or int(version) < 1:
        raise DamagedFileError(f"its format version is {version!r}, which is no version")
    if int(version) > VERSION:
        raise NewerFileError(
            f"format version {version} is newer than {VERSION}, the newest that this program reads; update onebit"
        )
    try:
        description = ModelDescription(
            config=ModelConfig.from_json(metadata["config"]),
            vocabulary=tuple(json.loads(metadata["vocabulary"])),
            bits=tuple(json.loads(metadata["bits"])),
            training=json.loads(metadata["training"]),
            checkpoint_sha256=metadata["checkpoint_sha256"],
            wer=json.loads(metadata["wer"]),
        )
        json.loads(metadata["tensor_sha256"])
        int(metadata["file_bytes"])
        if metadata["metadata_sha256"] != _metadata_digest(metadata):
            raise DamagedFileError("its metadata is not what was written (SHA-256 differs)")
    except KeyError as error:
        raise DamagedFileError(f"its metadata lacks {error}") from error
    except (ValueError, TypeError) as error:
        raise DamagedFileError(f"its metadata cannot be read ({error})") from error
    return description, metadata


def _check_length(metadata: dict[str, str], file_bytes: int) -> None:
    written = int(metadata["file_bytes"])
    if file_bytes < written:
        raise DamagedFileError(f"truncated: {file_bytes} bytes of {written}")
    if file_bytes > written:
        raise DamagedFileError(f"{file_bytes - written} bytes longer than it was written")


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _tensors(mapping: mmap.mmap, header: dict[str, object], data_start: int) -> Tensors:
    """Read-only views, which keep the mapping alive."""
    data = np.frombuffer(mapping, np.uint8)[data_start:]
    tensors: Tensors = {}
    end_before = 0
    for name, entry in sorted(header.items(), key=_start):
        dtype, shape, start, end = _entry(name, entry)
        if start != end_before or end > data.size or end - start != TensorSpec(dtype, shape).nbytes:
            raise DamagedFileError(f"the place of {name} in the file is inconsistent")
        if start % dtype.itemsize or data_start % dtype.itemsize:
            raise DamagedFileError(f"{name} is not aligned")
        tensors[name] = data[start:end].view(dtype).reshape(shape)
        end_before = end
    if end_before != data.size:
        raise DamagedFileError(f"{data.size - end_before} bytes belong to no tensor")
    return tensors


def _start(item: tuple[str, object]) -> int:
    return _entry(*item)[2]


def _entry(name: str, entry: object) -> tuple[np.dtype[np.generic], tuple[int, ...], int, int]:
    if not isinstance(entry, dict):
        raise DamagedFileError(f"the header entry of {name} is no object")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise DamagedFileError(f"the header entry of {name} has no proper shape and place")
    dtype = DTYPES.get(str(entry.get("dtype")))
    if dtype is None:
        raise DamagedFileError(f"{name} has the type {entry.get('dtype')!r}, which this format does not use")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _are_sizes(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < MAXIMUM_SIZE for value in values)


def _check_shapes(expected: Mapping[str, TensorSpec], found: Mapping[str, TensorSpec]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise ModelFileError(f"the tensor {name} is missing")
        if name not in expected:
            raise ModelFileError(f"the tensor {name} does not belong to this configuration")
        if found[name] != expected[name]:
            want, have = expected[name], found[name]
            raise ModelFileError(
                f"the tensor {name} is {have.dtype} {list(have.shape)}, not {want.dtype} {list(want.shape)}"
            )


def _check_digests(tensors: Tensors, metadata: dict[str, str]) -> None:
    digests = json.loads(metadata["tensor_sha256"])
    if not isinstance(digests, dict) or digests.keys() != tensors.keys():
        raise DamagedFileError("its checksums are not those of its tensors")
    for name, tensor in tensors.items():
        if _digest(tensor) != digests[name]:
            raise DamagedFileError(f"the bytes of {name} are not those that were written (SHA-256 differs)")
