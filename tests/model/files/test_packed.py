"""The packed file: what is written is read, and what is not whole is refused with the reason."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_header import header_bytes, rewrite_header
from safetensors import safe_open
from safetensors.numpy import save_file

from onebit_model.config import ModelConfig
from onebit_model.errors import (
    DamagedFileError,
    ForeignFileError,
    ModelFileError,
    NewerFileError,
    OnebitError,
    UnsupportedBitsError,
)
from onebit_model.files.assets import SHIPPED_MODEL
from onebit_model.files.packed import ModelDescription, Tensors, read_packed, write_packed
from onebit_model.files.tensor_file import file_sha256

TensorMaker = Callable[..., Tensors]


def test_round_trip(packed_path: Path, description: ModelDescription, random_tensors: TensorMaker) -> None:
    packed = read_packed(packed_path)
    assert packed.description == description
    assert packed.file_bytes == packed_path.stat().st_size
    written = random_tensors()
    assert packed.tensors.keys() == written.keys()
    for name, tensor in written.items():
        assert packed.tensors[name].dtype == tensor.dtype
        assert (packed.tensors[name] == tensor).all()
        assert not packed.tensors[name].flags.writeable


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_pages_are_released_and_come_back(packed_path: Path) -> None:
    def resident_kilobytes() -> int:
        lines = Path("/proc/self/smaps").read_text().splitlines()
        at = next(number for number, line in enumerate(lines) if line.endswith(str(packed_path)))
        return int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1])

    packed = read_packed(packed_path)
    before = {name: tensor.copy() for name, tensor in packed.tensors.items()}
    assert resident_kilobytes() > 0
    packed.release_pages()
    assert resident_kilobytes() == 0
    assert all((packed.tensors[name] == tensor).all() for name, tensor in before.items())


def test_the_safetensors_library_reads_it(packed_path: Path) -> None:
    packed = read_packed(packed_path)
    with safe_open(packed_path, "np") as file:
        assert file.metadata()["format"] == "onebit"
        assert int(file.metadata()["file_bytes"]) == packed_path.stat().st_size
        for name in file.keys():  # noqa: SIM118 - a safetensors file is not a mapping
            assert (file.get_tensor(name) == packed.tensors[name]).all()


def test_same_input_same_bytes(
    tmp_path: Path, packed_path: Path, description: ModelDescription, random_tensors: TensorMaker
) -> None:
    again = tmp_path / "again"
    write_packed(again, description, dict(reversed(random_tensors().items())))
    assert again.read_bytes() == packed_path.read_bytes()


def test_the_shipped_file_written_again_has_the_same_bytes(tmp_path: Path) -> None:
    packed = read_packed(SHIPPED_MODEL)
    write_packed(tmp_path / "again", packed.description, packed.tensors)
    assert file_sha256(tmp_path / "again") == file_sha256(SHIPPED_MODEL)


@pytest.mark.parametrize("bits", [(1,), (2,), (4,), (1, 2), (1, 4)])
def test_fewer_precisions_hold_only_what_they_need(
    bits: tuple[int, ...], tmp_path: Path, description: ModelDescription, random_tensors: TensorMaker
) -> None:
    path = tmp_path / "some"
    tensors = random_tensors(private_norms=True)
    write_packed(path, dataclasses.replace(description, bits=bits), tensors)
    packed = read_packed(path)
    assert packed.tensors["blocks.0.ff1.up.planes"].shape[0] == max(bits)
    for suffix in (1, 2, 4):
        assert (f"blocks.0.ff1.up.scale{suffix}" in packed.tensors) == (suffix in bits)
        assert (f"final_norm.bias{suffix}" in packed.tensors) == (suffix in bits)
    with pytest.raises(UnsupportedBitsError, match=f"holds: {', '.join(map(str, bits))}"):
        packed.require(8)


def test_size_of_one_precision(tmp_path: Path, packed_path: Path, description: ModelDescription) -> None:
    packed = read_packed(packed_path)
    path = tmp_path / "one"
    write_packed(path, dataclasses.replace(description, bits=(1,)), packed.tensors)
    alone = read_packed(path)
    assert packed.bytes_for(1) == sum(t.nbytes for t in alone.tensors.values())
    assert packed.bytes_for(1) < packed.bytes_for(2) < packed.bytes_for(4)


def test_a_shared_norm_may_stand_in_for_a_private_one(
    tmp_path: Path, description: ModelDescription, random_tensors: TensorMaker
) -> None:
    tensors = random_tensors()
    tensors["final_norm.weight1"] = tensors["final_norm.weight"] / np.float16(2)
    write_packed(tmp_path / "mixed", description, tensors)
    assert {"final_norm.weight", "final_norm.weight1"} <= read_packed(tmp_path / "mixed").tensors.keys()
    write_packed(tmp_path / "one", dataclasses.replace(description, bits=(1,)), tensors)
    assert "final_norm.weight" not in read_packed(tmp_path / "one").tensors


def test_truncation_at_every_boundary(packed_path: Path) -> None:
    content = packed_path.read_bytes()
    start = header_bytes(packed_path)
    ends = [
        entry["data_offsets"][1] + start
        for name, entry in json.loads(content[8:start]).items()
        if name != "__metadata__"
    ]
    cuts = {0, 1, 7, 8, 9, 100, start - 1, start, start + 1, len(content) - 1, *ends} - {len(content)}
    for cut in sorted(cuts):
        packed_path.write_bytes(content[:cut])
        with pytest.raises(DamagedFileError, match="truncated|empty"):
            read_packed(packed_path)


def test_bytes_after_the_end(packed_path: Path) -> None:
    packed_path.write_bytes(packed_path.read_bytes() + b"\0\0")
    with pytest.raises(DamagedFileError, match="2 bytes longer"):
        read_packed(packed_path)


def test_any_flipped_byte_is_found(packed_path: Path) -> None:
    content = packed_path.read_bytes()
    positions = np.random.default_rng(1).integers(0, len(content), 200).tolist()
    positions += [*range(9), header_bytes(packed_path) - 1, header_bytes(packed_path), len(content) - 1]
    for position in positions:
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        packed_path.write_bytes(flipped)
        with pytest.raises(ModelFileError) as caught:
            read_packed(packed_path)
        assert str(packed_path) in str(caught.value), position


def test_a_flipped_weight_names_its_tensor(packed_path: Path) -> None:
    content = bytearray(packed_path.read_bytes())
    content[header_bytes(packed_path)] ^= 1
    packed_path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"bytes of blocks\..*SHA-256"):
        read_packed(packed_path)


def test_foreign_files(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"weight": np.zeros((2, 2), np.float32)}, other)
    with pytest.raises(ForeignFileError, match="not one of onebit"):
        read_packed(other)
    save_file({"weight": np.zeros((2, 2), np.float32)}, other, metadata={"format": "pt"})
    with pytest.raises(ForeignFileError, match="not one of onebit"):
        read_packed(other)
    other.write_bytes(b"PK\3\4 this is a zip archive, and not a small one at that")
    with pytest.raises(ForeignFileError, match="not a safetensors file"):
        read_packed(other)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nothing: cannot be read"):
        read_packed(tmp_path / "nothing")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_packed(tmp_path)


@pytest.mark.parametrize("version", ["3", "10"])
def test_newer_version(packed_path: Path, version: str) -> None:
    rewrite_header(packed_path, lambda header: header["__metadata__"].update(version=version, file_bytes="1"))
    with pytest.raises(NewerFileError, match=f"version {version} is newer .* update onebit"):
        read_packed(packed_path)


@pytest.mark.parametrize("version", ["", "0", "-1", "one", "1.5", "9" * 5000])
def test_no_version(packed_path: Path, version: str) -> None:
    rewrite_header(packed_path, lambda header: header["__metadata__"].update(version=version))
    with pytest.raises(DamagedFileError, match="no version"):
        read_packed(packed_path)


@pytest.mark.parametrize("key", ["config", "vocabulary", "bits", "training", "wer", "tensor_sha256", "file_bytes"])
def test_metadata_must_be_whole(packed_path: Path, key: str) -> None:
    content = packed_path.read_bytes()
    rewrite_header(packed_path, lambda header: header["__metadata__"].pop(key))
    with pytest.raises(DamagedFileError, match=f"lacks '{key}'"):
        read_packed(packed_path)
    packed_path.write_bytes(content)
    rewrite_header(packed_path, lambda header: header["__metadata__"].update({key: "]"}))
    with pytest.raises(ModelFileError, match="cannot be read|not JSON"):
        read_packed(packed_path)


def test_a_deeply_nested_header_is_damage(packed_path: Path) -> None:
    text = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    content = packed_path.read_bytes()
    packed_path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(DamagedFileError, match="its header cannot be read"):
        read_packed(packed_path)
    packed_path.write_bytes(content)
    rewrite_header(packed_path, lambda header: header["__metadata__"].update(training="[" * 100_000))
    with pytest.raises(DamagedFileError, match="its metadata cannot be read"):
        read_packed(packed_path)


def change_entry(name: str, **values: object) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(values)


@pytest.mark.parametrize(
    "change",
    [
        change_entry("final_norm.bias", dtype="F64"),
        change_entry("final_norm.bias", shape=[-1]),
        change_entry("final_norm.bias", shape="32"),
        change_entry("final_norm.bias", shape=[1 << 62, 1 << 62]),
        change_entry("final_norm.bias", data_offsets=[0]),
        change_entry("final_norm.bias", data_offsets=[0, 1 << 39]),
        change_entry("final_norm.bias", data_offsets=[2, 42]),
        lambda header: header.update({"final_norm.bias": 3}),
        lambda header: header.pop("final_norm.bias"),
    ],
)
def test_hostile_headers(packed_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    def keep_length(header: dict[str, Any]) -> None:
        change(header)

    rewrite_header(packed_path, keep_length)
    with pytest.raises(OnebitError):
        read_packed(packed_path)


def test_shapes_must_be_those_of_the_config(
    tmp_path: Path, description: ModelDescription, tiny: ModelConfig, random_tensors: TensorMaker
) -> None:
    path = tmp_path / "wrong"
    other = dataclasses.replace(description, config=dataclasses.replace(tiny, feed_forward1=48))
    with pytest.raises(ModelFileError, match=r"blocks\.0\.ff1\.down\.planes is uint8 .* not uint8 "):
        write_packed(path, other, random_tensors())
    tensors = random_tensors()
    tensors["final_norm.bias"] = tensors["final_norm.bias"].astype(np.float32)
    with pytest.raises(ModelFileError, match=r"final_norm\.bias is float32 \[32\], not float16 \[32\]"):
        write_packed(path, description, tensors)
    assert not path.exists()


@pytest.mark.parametrize(("name", "value"), [("final_norm.bias", np.inf), ("head.scale8", 0), ("head.scale8", np.nan)])
def test_values_that_cannot_work_are_not_written(
    name: str, value: float, tmp_path: Path, description: ModelDescription, random_tensors: TensorMaker
) -> None:
    tensors = random_tensors()
    tensors[name][0] = value
    with pytest.raises(ModelFileError, match=name):
        write_packed(tmp_path / "wrong", description, tensors)


@pytest.mark.parametrize("bits", [(), (3,), (2, 1), (1, 1)])
def test_impossible_precisions(bits: tuple[int, ...], description: ModelDescription) -> None:
    with pytest.raises(ModelFileError, match="rising selection"):
        dataclasses.replace(description, bits=bits)


def test_vocabulary_must_fit(description: ModelDescription) -> None:
    with pytest.raises(ModelFileError, match="6 pieces"):
        dataclasses.replace(description, vocabulary=("a",))
