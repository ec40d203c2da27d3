"""The report of `onebit bench kernels` for people: one table a shape, and one for all layers of the model together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from onebit_kernels.bench.bar_chart import draw_bars
from onebit_kernels.bench.kernels import BASELINE, Report, weighted


def show(report: Report, console: Console) -> None:
    console.print(f"{report.cpu}; instruction set {report.isa}; one core; {report.date}")
    console.print(", ".join(f"{name} {version}" for name, version in report.versions.items()))
    for key, (instruction, gops) in report.ceilings.items():
        console.print(f"{key} ceiling: {gops:.0f} GOPS ({instruction})")
    for package in report.missing:
        console.print(f"[yellow]left out: {package}; the extra is called bench[/yellow]")
    for K, N in dict.fromkeys((speed.K, speed.N) for speed in report.speeds):
        speeds = {(s.contender, s.M): s.gops for s in report.speeds if (s.K, s.N) == (K, N)}
        console.print(speed_table(f"{K} -> {N}", speeds, report))
    totals = weighted(report)
    if totals:
        console.print(speed_table("all layers of a block", totals, report))


def speed_table(title: str, speeds: Mapping[tuple[str, int], float], report: Report) -> Table:
    """GOPS a column of rows M, then as a multiple of the int8 ceiling and of the baseline at the largest M."""
    rows = sorted({M for _, M in speeds})
    contenders = list(dict.fromkeys(s.contender for s in report.speeds))
    table = Table(title=f"{title}, GOPS")
    table.add_column("")
    for M in rows:
        table.add_column(f"M = {M}", justify="right")
    for heading in ratio_headings(speeds, rows):
        table.add_column(heading, justify="right")
    for name in contenders:
        values = [speeds[name, M] for M in rows]
        cells = [f"{value:.0f}" for value in values] + ratios(values[-1], speeds, rows[-1], report)
        table.add_row(name, *cells, style="bold" if name.startswith("onebit") else "")
    return table


def ratio_headings(speeds: Mapping[tuple[str, int], float], rows: Sequence[int]) -> list[str]:
    names = ["int8 ceiling"] + ([BASELINE] if (BASELINE, rows[-1]) in speeds else [])
    return [f"M = {rows[-1]} / {name}" for name in names]


def ratios(value: float, speeds: Mapping[tuple[str, int], float], M: int, report: Report) -> list[str]:
    ceiling = report.ceilings["int8"][1]
    cells = [f"{value / ceiling:.2f}" if ceiling else "-"]
    if (BASELINE, M) in speeds:
        cells.append(f"{value / speeds[BASELINE, M]:.2f}")
    return cells


def plot(report: Report, path: Path) -> None:
    """Speed over all layers of a block at the middle number of rows, as bars beside the int8 ceiling."""
    totals = weighted(report)
    rows = sorted({M for _, M in totals})
    M = rows[len(rows) // 2]
    speeds = {name: gops for (name, m), gops in totals.items() if m == M}
    ordered = {name: speeds[name] for name in dict.fromkeys(s.contender for s in report.speeds)}
    title = f"All linear layers of a block, {M} rows, one core ({report.cpu}, {report.isa}, {report.date[:10]})"
    instruction, ceiling = report.ceilings["int8"]
    draw_bars(path, title, "GOPS", ordered, (f"int8 ceiling ({instruction})", ceiling))
