"""Bars of a benchmark, ours beside the others, as SVG or PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

OURS, PEER, LIMIT = "#1f5fa8", "#9aa5b1", "#c0504d"


def draw_bars(path: Path, title: str, unit: str, values: Mapping[str, float], limit: tuple[str, float] | None) -> None:
    """One horizontal bar a name, those of onebit in a colour of their own; `limit` is a line across them.

    Raises ModuleNotFoundError without matplotlib (extra "plot").
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.9 + 0.34 * len(values)), layout="constrained")
    axes = figure.subplots()
    colours = [OURS if name.startswith("onebit") else PEER for name in values]
    bars = axes.barh(list(values), list(values.values()), color=colours)
    axes.bar_label(bars, fmt="%.3g", padding=4)
    if limit:
        name, value = limit
        axes.axvline(value, color=LIMIT, linestyle="--", linewidth=1)
        axes.annotate(name, (value, len(values) - 0.4), color=LIMIT, ha="center", annotation_clip=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    # Text that stays text: readable for programs, and a third of the bytes of drawn letters.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "onebit"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
