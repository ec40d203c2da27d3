"""What the engine holds in memory, each figure from a process of its own (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Arguments: the model file, the precision. Prints what Memory holds.
PROGRAM = """
import gc, json, sys
from pathlib import Path
import numpy as np
from onebit_kernels import Engine, Model
from onebit_model.files.packed import read_packed

def status(key):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024

path, bits, streams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
interpreter = status("VmRSS")
packed = read_packed(path)
planes = sum(t.nbytes for n, t in packed.tensors.items() if n.endswith(".planes"))
config, tensors, held = packed.config.to_dict(), packed.tensors, packed.bits
model = Model(config, tensors, held)
del packed, tensors
gc.collect()
loaded = status("VmRSS")
engine = Engine(model, bits)
samples = np.random.default_rng(0).uniform(-0.1, 0.1, 4 * 16_000).astype(np.float32)

def start(count):
    opened = [engine.open(8) for _ in range(count)]
    for stream in opened:
        stream.feed(samples[: 16_000 * 3 // 4])
    while ready := [stream for stream in opened if stream.ready]:
        for stream in ready:
            engine.step([stream])
    return opened

first = start(1)
before = status("VmRSS")
opened = start(streams)
print(json.dumps({
    "interpreter_bytes": interpreter,
    "planes_bytes": planes,
    "model_growth_bytes": loaded - interpreter,
    "stream_growth_bytes": (status("VmRSS") - before) // streams,
    "stream_bytes": opened[0].resident_bytes,
}))
"""

PEAK_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from onebit_kernels import Engine, Model
from onebit_model.files.packed import read_packed

packed = read_packed(sys.argv[1])
model = Model(packed.config.to_dict(), packed.tensors, packed.bits)
del packed
engine = Engine(model, int(sys.argv[2]))
stream = engine.open(0)
stream.feed(np.random.default_rng(0).uniform(-0.1, 0.1, 30 * 16_000).astype(np.float32))
stream.finish()
engine.step([stream])
line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(line.split()[1]) * 1024)
"""


@dataclass(frozen=True)
class Memory:
    interpreter_bytes: int  # Python and numpy before the model is read
    planes_bytes: int  # weight planes in the file
    model_growth_bytes: int  # resident, with all precisions of the file
    stream_growth_bytes: int  # resident growth of one more stream at 640 ms chunks
    stream_bytes: int  # the same as the stream itself counts it
    peak_bytes: int  # of a process that transcribes one segment of 30 seconds


def measure_memory(path: Path, bits: int, streams: int = 48) -> Memory:
    figures = json.loads(_output(PROGRAM, str(path), str(bits), str(streams)))
    return Memory(**figures, peak_bytes=int(_output(PEAK_PROGRAM, str(path), str(bits))))


def _output(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
