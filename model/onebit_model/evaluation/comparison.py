"""Is one system as good as another? `onebit evaluate --compare BASELINE OTHER`.

Primary test: non-inferiority on the pooled sets, that is, the upper end of the 95 % bootstrap interval of the relative
difference lies below the margin. Per set: MAPSSWE with Holm's correction over the sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onebit_model.data.reference import reference_sets
from onebit_model.errors import ResultFileError
from onebit_model.evaluation.evaluation import POOLED, SetErrors, point_rates, resample, set_errors
from onebit_model.evaluation.results import SystemResult
from onebit_model.evaluation.significance import (
    Interval,
    PairedTest,
    error_segments,
    holm,
    mapsswe,
    percentile_interval,
    relative_differences,
)

MARGIN = 0.03
ALPHA = 0.05
WORTHWHILE_BASELINE = 0.25


@dataclass(frozen=True)
class SetComparison:
    """One row: `relative` is (other - baseline) / baseline; the pooled rows have no paired test."""

    set: str
    baseline: float
    other: float
    relative: float
    interval: Interval
    unit: str
    test: PairedTest | None = None
    adjusted_p: float | None = None

    @property
    def significantly_worse(self) -> bool:
        return self.adjusted_p is not None and self.adjusted_p < ALPHA and self.other > self.baseline

    @property
    def significantly_better(self) -> bool:
        return self.adjusted_p is not None and self.adjusted_p < ALPHA and self.other < self.baseline


@dataclass(frozen=True)
class Comparison:
    baseline: str
    other: str
    baseline_bytes: int
    other_bytes: int
    rows: tuple[SetComparison, ...]

    @property
    def pooled(self) -> SetComparison:
        return next(row for row in self.rows if row.set == POOLED)

    @property
    def non_inferior(self) -> bool:
        return self.pooled.interval.high < MARGIN

    @property
    def missing(self) -> list[str]:
        """Shipped reference sets that were not scored: without them nothing is called lossless."""
        return [name for name in reference_sets() if name not in {row.set for row in self.rows}]

    @property
    def lossless(self) -> bool:
        """Non-inferior, on none of all sets significantly worse, against a baseline that is worth having."""
        worse = any(row.significantly_worse for row in self.rows)
        worthwhile = self.pooled.baseline < WORTHWHILE_BASELINE
        return self.non_inferior and not worse and worthwhile and not self.missing


def compare(baseline: SystemResult, other: SystemResult) -> Comparison:
    """Paired comparison on the sets that both systems were scored on; ResultFileError where their chunks differ."""
    if baseline.chunk != other.chunk:
        raise ResultFileError(
            f"{baseline.name} heard chunks of {baseline.chunk}, {other.name} of {other.chunk}: score both alike"
        )
    sets = _paired(baseline, other)
    resampled = resample(sets)
    tests = {name: mapsswe(_segments(errors)) for name, errors in sets.items()}
    adjusted = holm({name: test.p for name, test in tests.items()})
    first, second = point_rates(sets, 0), point_rates(sets, 1)
    rows = []
    for name, draws in resampled.rates.items():
        interval = percentile_interval(relative_differences(draws[:, 0], draws[:, 1]))
        relative = float(relative_differences(first[name], second[name]))
        rows.append(
            SetComparison(
                set=name,
                baseline=first[name],
                other=second[name],
                relative=relative,
                interval=interval,
                unit=resampled.units[name],
                test=tests.get(name),
                adjusted_p=adjusted.get(name),
            )
        )
    return Comparison(baseline.name, other.name, baseline.model_bytes, other.model_bytes, tuple(rows))


def _paired(baseline: SystemResult, other: SystemResult) -> dict[str, SetErrors]:
    names = [name for name in baseline.sets if name in other.sets]
    if not names:
        raise ResultFileError(f"{baseline.name} and {other.name} were scored on no common set")
    for name in names:
        first, second = baseline.sets[name], other.sets[name]
        if [(row.id, row.reference) for row in first] != [(row.id, row.reference) for row in second]:
            raise ResultFileError(f"{baseline.name} and {other.name} were scored on different versions of {name}")
    return {name: set_errors([baseline.sets[name], other.sets[name]]) for name in names}


def _segments(errors: SetErrors) -> Sequence[tuple[int, int]]:
    first, second = errors.alignments
    return [segment for pair in zip(first, second, strict=True) for segment in error_segments(*pair)]
