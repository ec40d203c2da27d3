"""Format version 2: the attention decoder, planes by layer, and the calibration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packed_header import rewrite_header
from random_packed import ALLOCATION, TINY, WRITING, WRITTEN, quantised_network, random_tensors

from onebit_model.config import ModelConfig
from onebit_model.errors import DamagedFileError, ModelFileError, NewerFileError
from onebit_model.files.allocation import EMBEDDING, Allocation
from onebit_model.files.calibration import Calibration
from onebit_model.files.layout import low_bit_layers
from onebit_model.files.packed import ModelDescription, read_packed, write_packed
from onebit_model.network.conformer import Conformer
from onebit_model.network.export import allocation_of, export_network, fp32_bytes, network_from_packed
from onebit_model.network.quantizers import QuantEmbedding, quantised_layers
from onebit_model.network.scale_fitting import fit_scales
from onebit_model.text.pieces import Pieces


def test_what_is_written_is_read(writing_path: Path, writing_description: ModelDescription) -> None:
    packed = read_packed(writing_path)
    assert packed.description == writing_description
    written = random_tensors(config=WRITING, allocation=ALLOCATION)
    assert packed.tensors.keys() == written.keys()
    assert all(np.array_equal(packed.tensors[name], tensor) for name, tensor in written.items())
    assert Pieces.from_arrays(packed.tensors["decoder.pieces"], packed.tensors["decoder.piece_ends"]) == WRITTEN


def version(path: Path) -> str:
    header = path.read_bytes()
    return str(json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]["version"])


def test_only_files_that_need_it_are_of_version_2(
    tmp_path: Path, packed_path: Path, writing_path: Path, description: ModelDescription
) -> None:
    assert (version(packed_path), version(writing_path)) == ("1", "2")
    allocation = Allocation({1: {"blocks.0.ff1.up": 4}})
    write_packed(tmp_path / "a", replace(description, allocation=allocation), random_tensors(allocation=allocation))
    assert version(tmp_path / "a") == "2"
    assert read_packed(tmp_path / "a").description.allocation == allocation
    write_packed(tmp_path / "b", replace(description, allocation=allocation, bits=(2, 4)), random_tensors())
    assert version(tmp_path / "b") == "1"


@pytest.mark.parametrize("bits", [(1,), (2,), (4,), (1, 2)])
def test_each_precision_needs_its_planes_and_scales(
    bits: tuple[int, ...], tmp_path: Path, writing_path: Path, writing_description: ModelDescription
) -> None:
    whole = read_packed(writing_path)
    path = tmp_path / "some"
    write_packed(path, replace(writing_description, bits=bits), whole.tensors)
    some = read_packed(path)
    assert some.description.allocation == ALLOCATION.only(bits)
    for layer in low_bit_layers(WRITING):
        used = {ALLOCATION.planes(layer.name, b) for b in bits}
        assert len(some.tensors[f"{layer.name}.planes"]) == max(used)
        assert {p for p in (1, 2, 4) if f"{layer.name}.scale{p}" in some.tensors} == used
    if len(bits) == 1:
        assert whole.bytes_for(bits[0]) == sum(tensor.nbytes for tensor in some.tensors.values())


@pytest.mark.parametrize(("allocation", "planes"), [(Allocation(), 4), (Allocation({1: {EMBEDDING: 2}}), 2)])
def test_the_embedding_has_four_planes_but_for_exceptions(
    allocation: Allocation, planes: int, tmp_path: Path, writing_description: ModelDescription
) -> None:
    description = replace(writing_description, allocation=allocation)
    write_packed(tmp_path / "whole", description, random_tensors(config=WRITING, allocation=allocation))
    whole = read_packed(tmp_path / "whole")
    assert whole.tensors[f"{EMBEDDING}.planes"].shape == (4, len(WRITTEN), 4)
    write_packed(tmp_path / "one", whole.description.only((1,)), whole.tensors)
    one = read_packed(tmp_path / "one").tensors
    assert np.array_equal(one[f"{EMBEDDING}.planes"], whole.tensors[f"{EMBEDDING}.planes"][:planes])
    assert [name for name in one if name.startswith(f"{EMBEDDING}.scale")] == [f"{EMBEDDING}.scale{planes}"]
    assert whole.bytes_for(1) == sum(tensor.nbytes for tensor in one.values())
    whole_scales = {name for name in whole.tensors if name.startswith(f"{EMBEDDING}.scale")}
    assert whole_scales == {f"{EMBEDDING}.scale{planes}", f"{EMBEDDING}.scale4"}


@pytest.mark.parametrize(
    ("exceptions", "complaint"),
    [
        ({1: {"blocks.0.ff1.up": 3}}, "must have 1, 2 or 4 planes, not 3 at 1 bit"),
        ({3: {"blocks.0.ff1.up": 4}}, "not 4 at 3 bit"),
        ({1: {"blocks.0.ff1.up": True}}, "not True at 1 bit"),
        ({2: {"blocks.0.ff1.up": 2}}, "no exception with 2 planes at 2 bit"),
        ({1: {EMBEDDING: 4}}, "decoder.embedding is no exception with 4 planes at 1 bit: leave it out"),
        ({4: {EMBEDDING: 4}}, "decoder.embedding is no exception with 4 planes at 4 bit"),
        ({1: {EMBEDDING: 3}}, "decoder.embedding must have 1, 2 or 4 planes, not 3 at 1 bit"),
        ({2: {"blocks.9.ff1.up": 4}}, "blocks.9.ff1.up, which is no low-bit layer"),
    ],
)
def test_impossible_allocations(
    exceptions: dict[int, dict[str, int]], complaint: str, writing_description: ModelDescription
) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        replace(writing_description, allocation=Allocation(exceptions))


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ((), "needs points"),
        (((0.0, 0.0), (1.0, 1.5)), "from 0 to 1"),
        (((0.0, 0.5), (1.0, 0.4)), "does not rise"),
        (((0.5, 0.5), (0.5, 0.6)), "does not rise"),
        (((0.0, float("nan")),), "from 0 to 1"),
    ],
)
def test_impossible_calibrations(points: Any, complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        Calibration({4: points})


def test_calibration_is_straight_between_its_points() -> None:
    calibration = Calibration({1: ((0.2, 0.1), (0.6, 0.5), (1.0, 0.9))})
    assert [calibration.confidence(1, p) for p in (0.0, 0.2, 0.4, 0.8, 1.0)] == pytest.approx([0.1, 0.1, 0.3, 0.7, 0.9])
    assert calibration.confidence(4, 0.37) == 0.37


@pytest.mark.parametrize("key", ["planes", "calibration", "alignment_heads"])
@pytest.mark.parametrize(
    "value", [None, "]", '{"1": 3}', '{"x": {}}', '{"1": {"blocks.0.ff1.up": {}}}', "[[0, 2]]", "[[2, 0]]", "[1]"]
)
def test_metadata_of_version_2_must_be_whole(writing_path: Path, key: str, value: str | None) -> None:
    def change(header: dict[str, Any]) -> None:
        if value is None:
            del header["__metadata__"][key]
        else:
            header["__metadata__"][key] = value

    rewrite_header(writing_path, change)
    with pytest.raises(ModelFileError) as caught:
        read_packed(writing_path)
    assert str(writing_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_versions_are_told_apart(writing_path: Path) -> None:
    content = writing_path.read_bytes()
    rewrite_header(writing_path, lambda header: header["__metadata__"].update(version="1"))
    with pytest.raises(DamagedFileError, match="version 1, which has no decoder"):
        read_packed(writing_path)
    writing_path.write_bytes(content)
    rewrite_header(writing_path, lambda header: header["__metadata__"].update(version="3"))
    with pytest.raises(NewerFileError, match="version 3 is newer than 2"):
        read_packed(writing_path)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("decoder.positions", lambda a: a[:-1], r"decoder\.positions is float16 \[39, 32\], not float16 \[40, 32\]"),
        ("decoder.piece_ends", lambda a: a.astype(np.int8), r"decoder\.piece_ends is int8"),
        ("decoder.piece_ends", lambda a: a[::-1], "do not rise to the number of bytes"),
        ("decoder.pieces", lambda a: a[:-1], "do not rise to the number of bytes"),
        ("decoder.pieces", lambda a: a.reshape(1, -1), r"decoder\.pieces is uint8 \[1, "),
        ("decoder.norm.bias", lambda a: a * np.float16(np.inf), r"decoder\.norm\.bias holds values"),
        ("decoder.embedding.scale4", lambda a: -a, "not positive"),
        ("decoder.embedding.planes", lambda a: a[:3], r"decoder\.embedding\.planes is uint8 \[3, "),
    ],
)
def test_a_decoder_that_cannot_work_is_not_written(
    name: str,
    change: Callable[[Any], Any],
    complaint: str,
    tmp_path: Path,
    writing_description: ModelDescription,
) -> None:
    tensors = random_tensors(config=WRITING, allocation=ALLOCATION)
    tensors[name] = change(tensors[name])
    with pytest.raises(ModelFileError, match=complaint):
        write_packed(tmp_path / "wrong", writing_description, tensors)
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("name", ["decoder.pieces", "decoder.piece_ends", "decoder.positions", "decoder.norm.weight"])
def test_a_decoder_must_be_whole(name: str, tmp_path: Path, writing_description: ModelDescription) -> None:
    tensors = random_tensors(config=WRITING, allocation=ALLOCATION)
    del tensors[name]
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        write_packed(tmp_path / "wrong", writing_description, tensors)


def random_network(config: ModelConfig, *, private_norms: bool) -> Conformer:
    network, _ = quantised_network(config, per_row=True, private_norms=private_norms)
    layers = quantised_layers(network)
    for bits, exceptions in ALLOCATION.exceptions.items():
        for name, planes in exceptions.items():
            if name == EMBEDDING:
                embedding_of(network).allot(bits, planes)
            else:
                layers[name].planes[bits] = planes
    fit_scales(network)
    return network


def embedding_of(network: Conformer) -> QuantEmbedding:
    embedding = network.get_submodule(EMBEDDING)
    assert isinstance(embedding, QuantEmbedding)
    return embedding


@pytest.mark.parametrize("private_norms", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_an_exported_network_comes_back(
    bits: int, private_norms: bool, tmp_path: Path, description: ModelDescription
) -> None:
    network = random_network(WRITING, private_norms=private_norms)
    assert allocation_of(network) == ALLOCATION
    packed = export_network(network, tmp_path / "model", replace(description, config=WRITING), WRITTEN)
    assert packed.description.allocation == ALLOCATION
    loaded = network_from_packed(tmp_path / "model", bits, activations=False)
    embedding = embedding_of(network)
    embedding.precision.bits = bits
    expected = {name: layer.quantised_weight(layer.planes[bits]) for name, layer in quantised_layers(network).items()}
    expected[EMBEDDING] = embedding.table()
    assert expected.keys() == {layer.name for layer in low_bit_layers(WRITING)}
    for name, weight in expected.items():
        assert (weight - loaded.get_submodule(name).weight).abs().max() <= 6e-4 * weight.abs().max()
    assert loaded.decoder is not None
    table, exact = loaded.decoder.embedding.weight, embedding.weight
    error = {2: 0.45, 4: 0.15}[embedding.planes[bits]]  # of Gaussian rows: 0.34 and 0.11
    assert (table - exact).norm() < error * exact.norm()
    hidden = loaded.decoder(torch.arange(6)[None], torch.randn(1, 9, WRITING.d_model), torch.tensor([9]))
    assert hidden.shape == (1, 6, WRITING.d_model)


def test_the_size_in_float32_counts_the_decoder() -> None:
    decoder = Conformer(WRITING).decoder
    assert decoder is not None
    assert fp32_bytes(WRITING) - fp32_bytes(TINY) == 4 * sum(p.numel() for p in decoder.parameters())
