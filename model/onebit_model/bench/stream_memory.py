"""`python -m onebit_model.bench.stream_memory MODEL BITS STREAMS`: what a model and each stream add to a process.

The process does nothing else, so that nothing else counts.
"""

from __future__ import annotations

import gc
import json
import sys

import numpy as np

from onebit_kernels import Engine, Model, Stream
from onebit_model.bench.process_status import RESIDENT, status_bytes
from onebit_model.config import SAMPLE_RATE
from onebit_model.files.packed import read_packed

CHUNK = 8  # 640 ms
SPOKEN_SAMPLES = SAMPLE_RATE * 3 // 4


def measure(path: str, bits: int, streams: int) -> dict[str, int]:
    interpreter = status_bytes(RESIDENT)
    packed = read_packed(path)
    planes = sum(tensor.nbytes for name, tensor in packed.tensors.items() if name.endswith(".planes"))
    model = Model(packed.config.to_dict(), packed.tensors, packed.bits)
    del packed
    gc.collect()
    loaded = status_bytes(RESIDENT)
    engine = Engine(model, bits)
    # The first brings the memory that all streams share.
    opened = open_streams(engine, 1)
    before = status_bytes(RESIDENT)
    opened += open_streams(engine, streams)
    return {
        "interpreter_bytes": interpreter,
        "planes_bytes": planes,
        "model_growth_bytes": loaded - interpreter,
        "stream_growth_bytes": (status_bytes(RESIDENT) - before) // streams,
        "stream_bytes": opened[-1].resident_bytes,
    }


def open_streams(engine: Engine, count: int) -> list[Stream]:
    """Streams that have computed their first chunk."""
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, SPOKEN_SAMPLES).astype(np.float32)
    opened = [engine.open(CHUNK) for _ in range(count)]
    for stream in opened:
        stream.feed(samples)
    while ready := [stream for stream in opened if stream.ready]:
        for stream in ready:
            engine.step([stream])
    return opened


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
