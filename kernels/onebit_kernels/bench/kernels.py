"""`onebit bench kernels`: speed of the low-bit products beside other engines and beside what the processor can do.

One run on one core measures everything in turns, so that what slows the machine down slows all alike. The figures are
medians of the turns. Time is that of the thread, which leaves out what other processes take.
"""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from onebit_kernels import _core
from onebit_kernels.bench.products import Contender, Repeat, Shape, onnx_contenders, our_contenders, torch_contenders
from onebit_kernels.bench.report_json import report_json

# How many layers of each size a block has (query, key and value are one product).
MODEL_SHAPES = {
    Shape(512, 1024): 2,  # first feed-forward, expansion of the convolution
    Shape(1024, 512): 1,
    Shape(512, 1536): 1,  # query, key, value
    Shape(512, 512): 2,  # attention output, projection of the convolution
    Shape(512, 2048): 1,  # second feed-forward
    Shape(2048, 512): 1,
}
BASELINE = "ONNX Runtime dynamic int8"


@dataclass(frozen=True)
class Plan:
    shapes: Sequence[Shape]
    rows: Sequence[int]
    turns: int = 9
    turn_seconds: float = 0.004
    isa: str = ""


@dataclass(frozen=True)
class Speed:
    contender: str
    K: int
    N: int
    M: int
    gops: float  # 10^9 multiplications and additions a second


@dataclass(frozen=True)
class Report:
    date: str
    cpu: str
    isa: str
    versions: dict[str, str]
    ceilings: dict[str, tuple[str, float]]  # "int8", "fp32" -> (instruction, GOPS)
    missing: list[str]  # peers that are not installed
    speeds: list[Speed]


def contenders_of(shape: Shape, isa: str, missing: set[str]) -> list[Contender]:
    found = list(our_contenders(shape, isa))
    peers: dict[str, Callable[[Shape], Iterable[Contender]]] = {
        "torch": torch_contenders,
        "onnxruntime": onnx_contenders,
    }
    for package, make in peers.items():
        try:
            found += make(shape)
        except ModuleNotFoundError as error:
            missing.add(f"{package} ({error.name} is not installed)")
    return found


def measure_shape(shape: Shape, rows: int, contenders: Sequence[Contender], plan: Plan) -> list[Speed]:
    x = np.random.default_rng(rows).normal(size=(rows, shape.K)).astype(np.float32)
    operations = 2 * rows * shape.K * shape.N
    loops = [contender.prepare(x) for contender in contenders]
    repeats = []
    for loop in loops:
        loop(2)
        repeats.append(max(1, round(plan.turn_seconds / thread_seconds(loop, 3))))
    turns: list[list[float]] = [[] for _ in loops]
    for _ in range(plan.turns):
        for loop, count, seconds in zip(loops, repeats, turns, strict=True):
            seconds.append(thread_seconds(loop, count))
    return [
        Speed(contender.name, shape.K, shape.N, rows, operations / statistics.median(seconds) / 1e9)
        for contender, seconds in zip(contenders, turns, strict=True)
    ]


def thread_seconds(loop: Repeat, count: int) -> float:
    """Of one product."""
    start = time.thread_time_ns()
    loop(count)
    return max(time.thread_time_ns() - start, 1) / 1e9 / count


def run(plan: Plan, progress: Callable[[str], object] = str) -> Report:
    missing: set[str] = set()
    ceilings: dict[str, list[tuple[str, float]]] = {"int8": [], "fp32": []}
    speeds: list[Speed] = []
    for shape in plan.shapes:
        contenders = contenders_of(shape, plan.isa, missing)
        for rows in plan.rows:
            progress(f"K = {shape.K}, N = {shape.N}, M = {rows}")
            ceilings["int8"].append(_core.int8_ceiling())
            ceilings["fp32"].append(_core.fp32_ceiling())
            speeds += measure_shape(shape, rows, contenders, plan)
    return Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=cpu_name(),
        isa=plan.isa or _core.isa_names()[0],
        versions={name: version for name in ("onebit", "torch", "onnxruntime") if (version := version_of(name))},
        ceilings={
            key: (found[0][0], statistics.median(speed for _, speed in found) / 1e9) for key, found in ceilings.items()
        },
        missing=sorted(missing),
        speeds=speeds,
    )


def weighted(report: Report) -> dict[tuple[str, int], float]:
    """(contender, M) -> GOPS over the linear layers of a whole block; only where every shape was measured."""
    totals: dict[tuple[str, int], float] = {}
    for rows in {speed.M for speed in report.speeds}:
        for name in {speed.contender for speed in report.speeds}:
            found = {Shape(s.K, s.N): s.gops for s in report.speeds if s.contender == name and rows == s.M}
            if set(found) >= set(MODEL_SHAPES):
                work = {shape: count * shape.K * shape.N for shape, count in MODEL_SHAPES.items()}
                totals[name, rows] = sum(work.values()) / sum(work[shape] / found[shape] for shape in work)
    return totals


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def to_json(report: Report) -> str:
    totals = [{"contender": name, "M": rows, "gops": gops} for (name, rows), gops in sorted(weighted(report).items())]
    return report_json(asdict(report) | {"weighted": totals})
