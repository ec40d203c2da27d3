"""Checked safetensors files: every tensor in its place, with metadata that tell a foreign, a newer or a damaged file.

Reading maps the file instead of copying it; nothing of it is used before format, version, length, the caller's own
checks and the SHA-256 of every tensor have passed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt

from onebit_model.errors import DamagedFileError, ForeignFileError, ModelFileError, NewerFileError
from onebit_model.files.layout import TensorSpec
from onebit_model.files.whole_file import whole_file

LENGTH_BYTES = 8
MAXIMUM_HEADER_BYTES = 16 << 20
DTYPES: dict[str, np.dtype[np.generic]] = {
    "U32": np.dtype("<u4"),
    "F16": np.dtype("<f2"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
FILE_BYTES_DIGITS = 12
MAXIMUM_SIZE = 1 << 40
VERSION_DIGITS = 9

Tensors = dict[str, npt.NDArray[np.generic]]
Description = TypeVar("Description")


@dataclass(frozen=True)
class FileKind:
    """What the metadata must say: `format` and the newest `version` that can be read."""

    format: str
    version: int


@dataclass(frozen=True)
class TensorFile(Generic[Description]):
    """A checked file: what its metadata describe, and read-only arrays that are mapped from it."""

    description: Description
    tensors: Tensors
    file_bytes: int
    mapping: mmap.mmap


def write_tensor_file(path: Path, kind: FileKind, metadata: Mapping[str, str], tensors: Tensors) -> None:
    """Writes contiguous `tensors`; the same input gives the same bytes."""
    # The widest numbers first, so that every tensor is aligned although the format has no padding between them.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header = _header(kind, metadata, tensors, order)
    with whole_file(path) as file:
        file.write(len(header).to_bytes(LENGTH_BYTES, "little") + header)
        for name in order:
            file.write(tensors[name].tobytes())


def _header(kind: FileKind, own: Mapping[str, str], arrays: Tensors, order: Sequence[str]) -> bytes:
    metadata = {
        "format": kind.format,
        "version": str(kind.version),
        **own,
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


def read_tensor_file(
    path: Path,
    kind: FileKind,
    describe: Callable[[dict[str, str]], Description],
    check: Callable[[Description, Tensors], None],
) -> TensorFile[Description]:
    """Maps and checks a file; raises a ModelFileError that says what is wrong with which file.

    `describe` reads the metadata (a KeyError, ValueError, TypeError, AttributeError or RecursionError there is damage),
    `check` looks at names, shapes and types.
    """
    try:
        header, data_start, file_bytes = _read_header(path)
        metadata = _checked_metadata(header, kind)
        description = _described(metadata, describe)
        _check_length(metadata, file_bytes)
        mapping = _map(path)
        tensors = _tensors(mapping, header, data_start)
        check(description, tensors)
        _check_digests(tensors, metadata)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ModelFileError as error:
        raise type(error)(f"{path}: {error}") from error
    return TensorFile(description, tensors, file_bytes, mapping)


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
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"its header cannot be read ({error})") from error
    return header, LENGTH_BYTES + length, file_bytes


def _checked_metadata(header: dict[str, object], kind: FileKind) -> dict[str, str]:
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != kind.format:
        raise ForeignFileError(f"a safetensors file, but not one of {kind.format}")
    version = str(metadata.get("version"))
    if not version.isascii() or not version.isdigit() or len(version) > VERSION_DIGITS or int(version) < 1:
        raise DamagedFileError(f"its format version is {version[: 2 * VERSION_DIGITS]!r}, which is no version")
    if int(version) > kind.version:
        raise NewerFileError(
            f"format version {version} is newer than {kind.version}, the newest that this program reads; update onebit"
        )
    return metadata


def _described(metadata: dict[str, str], describe: Callable[[dict[str, str]], Description]) -> Description:
    try:
        description = describe(metadata)
        json.loads(metadata["tensor_sha256"])
        int(metadata["file_bytes"])
        if metadata["metadata_sha256"] != _metadata_digest(metadata):
            raise DamagedFileError("its metadata is not what was written (SHA-256 differs)")
    except KeyError as error:
        raise DamagedFileError(f"its metadata lacks {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"its metadata cannot be read ({error})") from error
    return description


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


def check_shapes(expected: Mapping[str, TensorSpec], found: Mapping[str, TensorSpec]) -> None:
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
