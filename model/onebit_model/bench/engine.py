"""Real-time factor, stages and memory of the engine beside other runtimes, on real speech, on one core.

Everything is measured in one run, in turns, so that what slows the machine down slows all alike; figures are medians of
the turns. Time is that of the thread, which leaves out what other processes take.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from onebit_kernels import Engine, Model, Stream
from onebit_kernels.bench.kernels import cpu_name, version_of
from onebit_kernels.bench.report_json import report_json
from onebit_model.bench.encoders import Encoder, Samples, onnx_encoders, our_encoder, torch_encoder
from onebit_model.bench.memory import Memory, measure_memory
from onebit_model.config import SAMPLE_RATE
from onebit_model.data.reference import read_set
from onebit_model.files.packed import PackedModel, read_packed

CHUNK = 8  # 640 ms
BATCHES = (1, 2, 8, 32)
BATCH_SECONDS = 5


@dataclass(frozen=True)
class Plan:
    model: Path
    seconds: Sequence[int] = (2, 10, 30)
    turns: int = 7
    isa: str | None = None
    peers: bool = True


@dataclass(frozen=True)
class Run:
    encoder: str
    audio_seconds: int
    seconds: float  # of processor time

    @property
    def real_time_factor(self) -> float:
        return self.seconds / self.audio_seconds


@dataclass(frozen=True)
class Stages:
    encoder: str
    audio_seconds: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Batch:
    bits: int
    streams: int
    seconds: float  # of processor time per stream and second of audio


@dataclass(frozen=True)
class Report:
    date: str
    cpu: str
    isa: str
    versions: dict[str, str]
    missing: list[str]  # peers that are not installed
    runs: list[Run]
    stages: list[Stages]
    batches: list[Batch]
    memory: Memory | None  # where the system tells (Linux)


def speech(seconds: int) -> Samples:
    """Clips of a shipped reference set, one after the other, cut at `seconds`."""
    clips: list[Samples] = []
    for utterance in read_set("ljspeech"):
        clips.append(utterance.audio.read())
        if sum(map(len, clips)) >= seconds * SAMPLE_RATE:
            break
    return np.concatenate(clips)[: seconds * SAMPLE_RATE]


def thread_seconds(work: Callable[[], object]) -> float:
    start = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - start) / 1e9


def run(plan: Plan, progress: Callable[[str], object] = str) -> Report:
    packed = read_packed(plan.model)
    model = Model(packed.config.to_dict(), packed.tensors, packed.bits, plan.isa)
    missing: list[str] = []
    progress("preparing the encoders")
    encoders = [our_encoder(model, bits, chunk) for bits in packed.bits for chunk in (0, CHUNK)]
    if plan.peers:
        encoders += peers(packed, missing)
    return Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=cpu_name(),
        isa=model.isa,
        versions={name: version for name in ("onebit", "torch", "onnxruntime") if (version := version_of(name))},
        missing=missing,
        runs=[r for seconds in plan.seconds for r in measure_encoders(encoders, seconds, plan.turns, progress)],
        stages=[measure_stages(model, bits, s, plan.turns) for bits in packed.bits for s in plan.seconds],
        batches=measure_batches(model, plan.turns, progress),
        memory=measure_memory(plan.model, packed.bits[0]) if Path("/proc/self/status").exists() else None,
    )


def peers(packed: PackedModel, missing: list[str]) -> list[Encoder]:
    found: list[Encoder] = []
    for package, make in {"torch": lambda p: [torch_encoder(p)], "onnxruntime": onnx_encoders}.items():
        try:
            found += make(packed)
        except ModuleNotFoundError as error:
            missing.append(f"{package} ({error.name} is not installed)")
    return found


def measure_encoders(
    encoders: Sequence[Encoder], seconds: int, turns: int, progress: Callable[[str], object]
) -> list[Run]:
    samples = speech(seconds)
    times: list[list[float]] = [[] for _ in encoders]
    for turn in range(turns + 1):
        progress(f"{seconds} s of speech, turn {turn} of {turns}")
        for encoder, measured in zip(encoders, times, strict=True):
            measured.append(thread_seconds(lambda run=encoder.run: run(samples)))  # type: ignore[misc]
    return [
        Run(encoder.name, seconds, statistics.median(measured[1:]))
        for encoder, measured in zip(encoders, times, strict=True)
    ]


def measure_stages(model: Model, bits: int, seconds: int, turns: int) -> Stages:
    engine = Engine(model, bits)
    engine.times_stages = True
    stream = engine.open(0)
    samples = speech(seconds)
    measured: list[dict[str, float]] = []
    for _ in range(turns + 1):
        stream.reset()
        stream.feed(samples)
        stream.finish()
        engine.step([stream])
        measured.append(engine.stage_seconds())
    medians = {stage: statistics.median(turn[stage] for turn in measured[1:]) for stage in measured[0]}
    return Stages(f"onebit {bits} bit", seconds, medians)


def measure_batches(model: Model, turns: int, progress: Callable[[str], object]) -> list[Batch]:
    """Streams at 640 ms chunks that step together; every turn measures all numbers of streams."""
    samples = speech(BATCH_SECONDS)
    batches = []
    for bits in model.bits:
        engine = Engine(model, bits)
        streams = [engine.open(CHUNK) for _ in range(max(BATCHES))]
        times: dict[int, list[float]] = {count: [] for count in BATCHES}
        for turn in range(turns + 1):
            progress(f"streams together at {bits} bit, turn {turn} of {turns}")
            for count, measured in times.items():
                for stream in streams[:count]:
                    stream.reset()
                    stream.feed(samples)
                    stream.finish()
                measured.append(thread_seconds(partial(drain, engine, streams[:count])))
        batches += [
            Batch(bits, count, statistics.median(measured[1:]) / count / BATCH_SECONDS)
            for count, measured in times.items()
        ]
    return batches


def drain(engine: Engine, streams: Sequence[Stream]) -> None:
    while ready := [stream for stream in streams if stream.ready]:
        engine.step(ready)


def to_json(report: Report) -> str:
    return report_json(asdict(report))
