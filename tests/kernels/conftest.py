"""Models and streams shared by the tests of the core."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from onebit_kernels import Engine, Model, Result, isa_names

sys.path.insert(0, str(Path(__file__).parent))

from random_model import SMALL, Tensors, Transcribe, random_tensors


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", isa_names(), scope="session")


@pytest.fixture(scope="session")
def small_tensors() -> Tensors:
    return random_tensors(SMALL)


@pytest.fixture(scope="session")
def small_model(small_tensors: Tensors) -> Model:
    return Model(SMALL, small_tensors, (1, 2, 4))


@pytest.fixture(scope="session")
def isa_model(small_tensors: Tensors, isa: str) -> Model:
    return Model(SMALL, small_tensors, (1, 2, 4), isa)


@pytest.fixture(scope="session")
def transcribe() -> Transcribe:
    def run(engine: Engine, samples: NDArray[np.float32], chunk: int) -> Result:
        stream = engine.open(chunk, keep_logits=True)
        stream.feed(samples)
        stream.finish()
        while stream.ready:
            engine.step([stream])
        assert stream.done
        return stream.take()

    return run
