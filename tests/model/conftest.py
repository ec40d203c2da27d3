"""A tiny packed model with random weights, shared by the tests of the packed file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from onebit_model.config import ModelConfig
from onebit_model.files.calibration import Calibration
from onebit_model.files.packed import ModelDescription, Tensors, write_packed

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from random_packed import ALLOCATION, TINY, VOCABULARY, WRITING, random_tensors

TensorMaker = Callable[..., Tensors]


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    return TINY


@pytest.fixture(scope="session", name="random_tensors")
def random_tensors_fixture() -> TensorMaker:
    return random_tensors


@pytest.fixture
def description() -> ModelDescription:
    return ModelDescription(TINY, VOCABULARY, (1, 2, 4), {"steps": 3}, "ab" * 32, {"ljspeech": {"1": 0.5}})


@pytest.fixture
def writing_description(description: ModelDescription) -> ModelDescription:
    calibration = Calibration({1: ((0.0, 0.1), (0.5, 0.6), (1.0, 0.9))})
    return replace(
        description, config=WRITING, allocation=ALLOCATION, calibration=calibration, alignment_heads=((1, 0), (1, 1))
    )


@pytest.fixture
def writing_path(tmp_path: Path, writing_description: ModelDescription) -> Path:
    """A packed file with a decoder and an allocation: format version 2."""
    path = tmp_path / "writing.onebit.safetensors"
    write_packed(path, writing_description, random_tensors(config=WRITING, allocation=ALLOCATION))
    return path


@pytest.fixture
def packed_path(tmp_path: Path, description: ModelDescription, random_tensors: TensorMaker) -> Path:
    path = tmp_path / "model.onebit.safetensors"
    write_packed(path, description, random_tensors())
    return path
