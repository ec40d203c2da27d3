"""The report of `onebit bench engine` for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from onebit_kernels.bench.bar_chart import draw_bars
from onebit_model.bench.engine import Batch, Report, Run, Stages
from onebit_model.bench.memory import Memory

BASELINES = ("ONNX Runtime dynamic int8", "torch fp32")
MEGABYTE = 1_000_000


def show(report: Report, console: Console) -> None:
    console.print(f"{report.cpu}; instruction set {report.isa}; one core; {report.date}")
    console.print(", ".join(f"{name} {version}" for name, version in report.versions.items()))
    for package in report.missing:
        console.print(f"[yellow]left out: {package}; the extra is called bench[/yellow]")
    for seconds in dict.fromkeys(run.audio_seconds for run in report.runs):
        console.print(speed_table([run for run in report.runs if run.audio_seconds == seconds], seconds))
    console.print(stage_table(report.stages))
    console.print(batch_table(report.batches))
    if report.memory:
        console.print(memory_table(report.memory))


def speed_table(runs: Sequence[Run], seconds: int) -> Table:
    baselines = {run.encoder: run.seconds for run in runs if run.encoder in BASELINES}
    table = Table(title=f"{seconds} s of speech, from samples to log-probabilities")
    table.add_column("")
    for heading in ("ms", "real-time factor", *(f"x {name}" for name in baselines)):
        table.add_column(heading, justify="right")
    for run in runs:
        ratios = [f"{seconds / run.seconds:.2f}" for seconds in baselines.values()]
        cells = [f"{run.seconds * 1e3:.1f}", f"{run.real_time_factor:.5f}", *ratios]
        table.add_row(run.encoder, *cells, style="bold" if run.encoder.startswith("onebit") else "")
    return table


def stage_table(stages: Sequence[Stages]) -> Table:
    table = Table(title="Stages of a segment, ms")
    table.add_column("")
    for measured in stages:
        table.add_column(f"{measured.encoder.removeprefix('onebit ')}, {measured.audio_seconds} s", justify="right")
    for stage in stages[0].seconds:
        table.add_row(stage.replace("_", " "), *(f"{measured.seconds[stage] * 1e3:.2f}" for measured in stages))
    table.add_row("sum", *(f"{sum(measured.seconds.values()) * 1e3:.2f}" for measured in stages), style="bold")
    return table


def batch_table(batches: Sequence[Batch]) -> Table:
    table = Table(title="Streams of 640 ms chunks that step together, ms per stream and second of audio")
    table.add_column("")
    counts = list(dict.fromkeys(batch.streams for batch in batches))
    for count in counts:
        table.add_column(f"{count} streams" if count > 1 else "alone", justify="right")
    table.add_column(f"gain at {counts[-1]}", justify="right")
    for bits in dict.fromkeys(batch.bits for batch in batches):
        seconds = [batch.seconds for batch in batches if batch.bits == bits]
        gain = f"{seconds[0] / seconds[-1]:.2f}"
        table.add_row(f"{bits} bit", *(f"{value * 1e3:.2f}" for value in seconds), gain)
    return table


def memory_table(memory: Memory) -> Table:
    table = Table(title="Memory, MB")
    table.add_column("")
    table.add_column("", justify="right")
    for name, count in {
        "interpreter and numpy": memory.interpreter_bytes,
        "growth with a loaded model": memory.model_growth_bytes,
        "weight planes in its file": memory.planes_bytes,
        "growth with one more stream": memory.stream_growth_bytes,
        "peak of a process that transcribes 30 s": memory.peak_bytes,
    }.items():
        table.add_row(name, f"{count / MEGABYTE:.2f}")
    return table


def plot(report: Report, path: Path) -> None:
    """Processor time of every encoder on the middle length of speech, as bars."""
    lengths = sorted({run.audio_seconds for run in report.runs})
    seconds = lengths[len(lengths) // 2]
    times = {run.encoder: run.seconds * 1e3 for run in report.runs if run.audio_seconds == seconds}
    title = f"{seconds} s of speech, one core ({report.cpu}, {report.isa}, {report.date[:10]})"
    draw_bars(path, title, "ms of processor time", times, None)
