"""A tiny packed model with random weights, shared by the tests of the packed file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onebit_model.config import ModelConfig
from onebit_model.files.layout import low_bit_layers, norm_specs, norms, pack_planes, tensor_specs
from onebit_model.files.packed import ModelDescription, Tensors, write_packed

TINY = ModelConfig(
    mel_bins=20,
    d_model=32,
    heads=2,
    blocks=2,
    feed_forward1=64,
    feed_forward2=80,
    convolution_kernel=5,
    average_after=1,
    vocabulary_size=6,
    max_positions=100,
)
PIECES = ("\u2581", "\u2581a", "b", "c", "\u2581the", "'")

TensorMaker = Callable[..., Tensors]


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    return TINY


@pytest.fixture(scope="session")
def random_tensors() -> TensorMaker:
    def make(bits: tuple[int, ...] = (1, 2, 4), private_norms: bool = False, config: ModelConfig = TINY) -> Tensors:
        generator = np.random.default_rng(7)
        private = {f"{norm}.{part}{bits[0]}" for norm in norms(config) for part in ("weight", "bias")}
        names = private if private_norms else set()
        tensors: Tensors = {}
        for name, spec in (tensor_specs(config, bits) | norm_specs(config, bits, names)).items():
            if spec.dtype == np.float16:
                tensors[name] = generator.uniform(0.01, 1, spec.shape).astype(np.float16)
            else:
                tensors[name] = generator.integers(-127, 127, spec.shape, np.int8, endpoint=True).astype(spec.dtype)
        for layer in low_bit_layers(config):
            codes = generator.integers(0, 16, (layer.outputs, layer.inputs), np.uint8)
            tensors[f"{layer.name}.planes"] = pack_planes(codes, max(bits))
        return tensors

    return make


@pytest.fixture
def description() -> ModelDescription:
    return ModelDescription(TINY, PIECES, (1, 2, 4), {"steps": 3}, "ab" * 32, {"ljspeech": {"1": 0.5}})


@pytest.fixture
def packed_path(tmp_path: Path, description: ModelDescription, random_tensors: TensorMaker) -> Path:
    path = tmp_path / "model.onebit.safetensors"
    write_packed(path, description, random_tensors())
    return path
