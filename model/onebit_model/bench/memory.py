"""What the engine holds in memory, each figure from a process of its own (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    interpreter_bytes: int  # Python and numpy before the model is read
    planes_bytes: int  # weight planes in the file
    model_growth_bytes: int  # resident, with all precisions of the file
    stream_growth_bytes: int  # resident growth of one more stream at 640 ms chunks
    stream_bytes: int  # the same as the stream itself counts it
    peak_bytes: int  # of a process that transcribes one segment of 30 seconds


def measure_memory(path: Path, bits: int, streams: int = 48) -> Memory:
    figures = json.loads(_output("stream_memory", str(path), str(bits), str(streams)))
    return Memory(**figures, peak_bytes=int(_output("segment_memory", str(path), str(bits))))


def _output(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"onebit_model.bench.{module}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
