"""Word error rates of systems on labelled sets, with intervals: `onebit evaluate`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import reference_sets
from onebit_model.evaluation.results import ScoredUtterance, SystemResult
from onebit_model.evaluation.scoring import Alignment, ErrorCounts, align_texts
from onebit_model.evaluation.significance import (
    Blocks,
    Floats,
    Interval,
    block_sums,
    percentile_interval,
    rates,
    resampled_sums,
)

SEED = 2025
POOLED = "pooled"
MACRO = "macro average"

Transcribe = Callable[[npt.NDArray[np.float32]], str]
Progress = Callable[[int], None]


def score(
    utterances: Sequence[Utterance], transcribe: Transcribe, progress: Progress | None = None
) -> list[ScoredUtterance]:
    """Runs any system, engine or torch, over a set: `transcribe` maps (samples,) float32 at 16 kHz to its text."""
    scored = []
    for done, utterance in enumerate(utterances, 1):
        text = transcribe(utterance.audio.read())
        scored.append(ScoredUtterance(utterance.id, utterance.speaker, utterance.text, text))
        if progress:
            progress(done)
    return scored


@dataclass(frozen=True)
class SetScore:
    """One row of the table; the macro average has a rate only."""

    set: str
    rate: float
    interval: Interval
    unit: str
    counts: ErrorCounts | None = None


def pooled_names(sets: Iterable[str]) -> list[str]:
    """The sets that the pooled figures are made of: the shipped ones among them, or else all."""
    names = list(sets)
    return [name for name in names if name in reference_sets()] or names


@dataclass(frozen=True)
class SetErrors:
    """Alignments of the compared systems on one set, system by system, and the speaker of each utterance."""

    speakers: list[str]
    alignments: list[list[Alignment]]

    @property
    def counts(self) -> list[ErrorCounts]:
        return [sum((a.counts for a in system), ErrorCounts()) for system in self.alignments]

    def blocks(self) -> Blocks:
        errors = [[a.counts.errors for a in row] for row in zip(*self.alignments, strict=True)]
        words = [a.counts.words for a in self.alignments[0]]
        return block_sums(self.speakers, errors, words)


def set_errors(systems: Sequence[Sequence[ScoredUtterance]]) -> SetErrors:
    """Aligns the same utterances of one or more systems."""
    alignments = [[align_texts(row.reference, row.hypothesis) for row in rows] for rows in systems]
    return SetErrors([row.speaker for row in systems[0]], alignments)


@dataclass(frozen=True)
class Resampled:
    """Bootstrap draws: error rates (resamples, systems) per set, pooled and macro-averaged, and the blocks' units."""

    rates: dict[str, Floats]
    units: dict[str, str]


def resample(sets: Mapping[str, SetErrors]) -> Resampled:
    """Draws each set from its own blocks (its generator depends on its name alone); the pool is stratified by set."""
    drawn = {}
    units = {}
    for name, errors in sets.items():
        blocks = errors.blocks()
        units[name] = blocks.unit
        drawn[name] = resampled_sums(blocks, np.random.default_rng([SEED, zlib.crc32(name.encode())]))
    sampled = {name: rates(*sums) for name, sums in drawn.items()}
    pool = pooled_names(sets)
    errors_sum = np.sum([drawn[name][0] for name in pool], axis=0)
    words_sum = np.sum([drawn[name][1] for name in pool], axis=0)
    sampled[POOLED] = rates(errors_sum, words_sum)
    sampled[MACRO] = np.mean([sampled[name] for name in pool], axis=0)
    units[POOLED] = units[MACRO] = "each set's own"
    return Resampled(sampled, units)


def point_rates(sets: Mapping[str, SetErrors], system: int) -> dict[str, float]:
    """Error rates of one system: per set, pooled, macro-averaged."""
    counts = {name: errors.counts[system] for name, errors in sets.items()}
    pool = pooled_names(sets)
    found = {name: count.rate for name, count in counts.items()}
    found[POOLED] = sum((counts[name] for name in pool), ErrorCounts()).rate
    found[MACRO] = sum(counts[name].rate for name in pool) / len(pool)
    return found


def summarise(system: SystemResult) -> list[SetScore]:
    """Rows of the table of one system: its sets, then pooled and macro average."""
    sets = {name: set_errors([rows]) for name, rows in system.sets.items()}
    resampled = resample(sets)
    points = point_rates(sets, 0)
    counts: dict[str, ErrorCounts | None] = {name: errors.counts[0] for name, errors in sets.items()}
    counts[POOLED] = sum((sets[name].counts[0] for name in pooled_names(sets)), ErrorCounts())
    return [
        SetScore(name, rate, percentile_interval(resampled.rates[name][:, 0]), resampled.units[name], counts.get(name))
        for name, rate in points.items()
    ]


def wer_table(systems: Sequence[SystemResult]) -> dict[str, dict[str, float]]:
    """{system: {set: rate}}, as the packed file carries it."""
    return {system.name: {row.set: round(row.rate, 4) for row in summarise(system)} for system in systems}


def summary_document(systems: Sequence[SystemResult]) -> list[dict[str, object]]:
    """The same for machines."""
    return [
        {"system": system.name, "bits": system.bits, "chunk": system.chunk, "model_bytes": system.model_bytes}
        | {"rows": [asdict(row) for row in summarise(system)]}
        for system in systems
    ]
