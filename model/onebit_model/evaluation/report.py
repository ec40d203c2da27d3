"""Results for people: tables in the terminal, a Markdown report, a plot of word error rate against size."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from onebit_model.evaluation.comparison import ALPHA, MARGIN, WORTHWHILE_BASELINE, Comparison, SetComparison
from onebit_model.evaluation.evaluation import MACRO, POOLED, SetScore, pooled_names, summarise
from onebit_model.evaluation.results import SystemResult, common_sets, finite

MEGABYTE = 1_000_000


def percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def signed_percent(value: float) -> str:
    return f"{100 * value:+.1f} %" if math.isfinite(value) else "unbounded"


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / MEGABYTE:.1f} MB"


# One or more systems side by side


def score_tables(systems: Sequence[SystemResult]) -> list[Table]:
    """One terminal table per system."""
    tables = []
    for system in systems:
        title = f"{system.name}, chunk {system.chunk}, {megabytes(system.model_bytes)}"
        table = Table("set", title=title, title_justify="left")
        for column in ("WER %", "95 % interval", "words", "sub", "del", "ins"):
            table.add_column(column, justify="right")
        table.add_column("resampled by")
        for row in summarise(system):
            table.add_row(*_score_cells(row))
        tables.append(table)
    return tables


def _score_cells(row: SetScore) -> list[str]:
    counts = row.counts
    numbers = ["", "", "", ""]
    if counts:
        numbers = [str(n) for n in (counts.words, counts.substitutions, counts.deletions, counts.insertions)]
    return [row.set, percent(row.rate), _interval(row), *numbers, row.unit]


def _interval(row: SetScore) -> str:
    return f"{percent(row.interval.low)}-{percent(row.interval.high)}"


def score_markdown(systems: Sequence[SystemResult]) -> str:
    """Sets (those that all systems have) as rows, systems as columns: WER % with its interval."""
    systems = common_sets(systems)
    summaries = [{row.set: row for row in summarise(system)} for system in systems]
    lines = [
        "| set | " + " | ".join(f"{s.name}, {megabytes(s.model_bytes)}" for s in systems) + " |",
        "|---|" + "---|" * len(systems),
    ]
    for name in summaries[0]:
        cells = [f"{percent(s[name].rate)} ({_interval(s[name])})" for s in summaries]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    units = {row.set: row.unit for row in summaries[0].values()}
    by_set = ", ".join(f"{name} by {unit}" for name, unit in units.items() if name not in (POOLED, MACRO))
    pool = ", ".join(pooled_names(name for name in units if name not in (POOLED, MACRO)))
    lines += ["", f"Bootstrap of blocks: {by_set}. Pooled and averaged over {pool}, each resampled on its own."]
    return "\n".join(lines) + "\n"


# Comparisons


def comparison_table(comparison: Comparison) -> Table:
    table = Table("set", title=f"{comparison.other} against {comparison.baseline}", title_justify="left")
    for column in ("baseline %", "other %", "relative", "95 % interval", "segments", "z", "p", "p (Holm)"):
        table.add_column(column, justify="right")
    table.add_column("MAPSSWE")
    for row in comparison.rows:
        table.add_row(*_comparison_cells(row))
    return table


def _comparison_cells(row: SetComparison) -> list[str]:
    interval = f"{signed_percent(row.interval.low)} to {signed_percent(row.interval.high)}"
    cells = [row.set, percent(row.baseline), percent(row.other), signed_percent(row.relative), interval]
    if row.test is None or row.adjusted_p is None:
        return [*cells, "", "", "", "", ""]
    finding = "worse" if row.significantly_worse else "better" if row.significantly_better else "no difference shown"
    return [
        *cells,
        str(row.test.segments),
        f"{row.test.z:.2f}",
        f"{row.test.p:.3g}",
        f"{row.adjusted_p:.3g}",
        finding,
    ]


def verdict(comparison: Comparison) -> str:
    """The claim that the data allow, in words."""
    pooled = comparison.pooled
    upper = f"upper end of the interval {signed_percent(pooled.interval.high)}, margin {signed_percent(MARGIN)}"
    parts = [
        f"{comparison.other} is {'not inferior to' if comparison.non_inferior else 'not shown to be as good as'} "
        f"{comparison.baseline} on the pooled sets ({upper})."
    ]
    worse = [row.set for row in comparison.rows if row.significantly_worse]
    parts.append(f"Significantly worse on {', '.join(worse)}." if worse else "Significantly worse on no single set.")
    if pooled.baseline >= WORTHWHILE_BASELINE:
        parts.append(
            f"The baseline's own pooled WER of {percent(pooled.baseline)} % is too high for the word lossless."
        )
    if comparison.missing:
        parts.append(f"Not scored, so nothing can be called lossless: {', '.join(comparison.missing)}.")
    parts.append("Lossless by definition." if comparison.lossless else "Not lossless by definition.")
    return " ".join(parts)


def comparison_markdown(comparisons: Sequence[Comparison], plot: str | None = None) -> str:
    columns = ["set", "baseline %", "other %", "relative", "95 % interval"]
    columns += ["segments", "z", "p", "p (Holm)", "MAPSSWE"]
    lines = ["# Comparison of word error rates", ""]
    lines += [
        f"Relative difference: (other - baseline) / baseline, 95 % paired bootstrap interval. Non-inferiority: the "
        f"upper end on the pooled sets is below {signed_percent(MARGIN)}. MAPSSWE: two-sided, alpha {ALPHA} after "
        f"Holm's correction over the sets. Lossless: non-inferior, on no set significantly worse, and the baseline's "
        f"pooled WER is below {percent(WORTHWHILE_BASELINE)} %.",
        "",
    ]
    for comparison in comparisons:
        sizes = f"{megabytes(comparison.other_bytes)} against {megabytes(comparison.baseline_bytes)}"
        lines += [f"## {comparison.other} against {comparison.baseline} ({sizes})", ""]
        lines += [" | ".join(["", *columns, ""]).strip(), "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(_comparison_cells(row)) + " |" for row in comparison.rows]
        lines += ["", verdict(comparison), ""]
    if plot:
        lines += [f"![Word error rate against model size]({plot})", ""]
    return "\n".join(lines)


def comparison_document(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """The same for machines."""
    documents: list[dict[str, object]] = []
    for comparison in comparisons:
        document = asdict(comparison) | {
            "margin": MARGIN,
            "alpha": ALPHA,
            "non_inferior": comparison.non_inferior,
            "lossless": comparison.lossless,
        }
        documents.append(document)
    return documents


def write_report(
    folder: str | Path, baseline: SystemResult, others: Sequence[SystemResult], comparisons: Sequence[Comparison]
) -> Path:
    """comparison.json, comparison.md and wer-size.svg (where matplotlib is installed) in `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps(finite(comparison_document(comparisons)), indent=1) + "\n")
    plot = plot_sizes(folder / "wer-size.svg", [baseline, *others])
    report = folder / "comparison.md"
    report.write_text(comparison_markdown(comparisons, plot.name if plot else None))
    return report


def plot_sizes(path: Path, systems: Sequence[SystemResult]) -> Path | None:
    """Pooled WER with its interval against the size of the model; None without matplotlib (extra "plot")."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    pooled = [next(row for row in summarise(system) if row.set == POOLED) for system in systems]
    sizes = [system.model_bytes / MEGABYTE for system in systems]
    wers = [100 * row.rate for row in pooled]
    below = [100 * (row.rate - row.interval.low) for row in pooled]
    above = [100 * (row.interval.high - row.rate) for row in pooled]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(sizes, wers, yerr=[below, above], fmt="o", capsize=4, color="#1f5fa8")
    for system, size, wer in zip(systems, sizes, wers, strict=True):
        axes.annotate(system.name, (size, wer), textcoords="offset points", xytext=(8, 6))
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("model file, MB (logarithmic)")
    axes.set_ylabel("pooled word error rate, %  (95 % interval)")
    axes.margins(x=0.2)
    axes.grid(alpha=0.3)
    figure.savefig(path)
    return path
