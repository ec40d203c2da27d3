"""`python -m onebit_model.bench.segment_memory MODEL BITS`: the peak of a process that hears the longest segment."""

from __future__ import annotations

import sys

import numpy as np

from onebit_kernels import Engine, Model
from onebit_model.bench.process_status import PEAK_RESIDENT, status_bytes
from onebit_model.config import MAXIMUM_SEGMENT_SECONDS, SAMPLE_RATE
from onebit_model.files.packed import read_packed


def measure(path: str, bits: int) -> int:
    packed = read_packed(path)
    model = Model(packed.config.to_dict(), packed.tensors, packed.bits)
    del packed
    engine = Engine(model, bits)
    stream = engine.open(0)
    count = MAXIMUM_SEGMENT_SECONDS * SAMPLE_RATE
    stream.feed(np.random.default_rng(0).uniform(-0.1, 0.1, count).astype(np.float32))
    stream.finish()
    engine.step([stream])
    return status_bytes(PEAK_RESIDENT)


if __name__ == "__main__":
    print(measure(sys.argv[1], int(sys.argv[2])))
