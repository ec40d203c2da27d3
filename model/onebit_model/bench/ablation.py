"""What each part of the method is worth: fine-tunes of as many steps from one converged checkpoint, on the same data.

    onebit bench ablation model/recipes/ablation.toml

The recipe says what is trained, on what and for how long; each row of the table changes only how that is quantised, and
keeps what the rows above it added. A row takes as many steps as the others, not as much time: "passes" says how often
the network is run in each. Word error rates are greedy, of the recipe's dev set, by the torch network, with their 95 %
bootstrap intervals; the last column compares the 1-bit texts with those of the row above (MAPSSWE). A row that was
finished before, by the same recipe from the same start, is neither trained nor scored again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onebit_model.evaluation.comparison import compare
from onebit_model.evaluation.evaluation import summarise
from onebit_model.evaluation.report import percent
from onebit_model.evaluation.results import ScoredUtterance, SystemResult, read_results, write_results
from onebit_model.evaluation.scored_systems import FULL_PRECISION_BITS
from onebit_model.files.tensor_file import file_sha256
from onebit_model.network.assembly import network_from_checkpoint
from onebit_model.network.checkpoint import STATE_NAME, load_checkpoint
from onebit_model.network.quantizers import Precision
from onebit_model.training.dev_scoring import transcribe
from onebit_model.training.loop import Loop
from onebit_model.training.processes import join
from onebit_model.training.recipe import QuantizeConfig, QuantizeLosses, QuantizeSchedule, Recipe, load_recipe
from onebit_model.training.stage import Paths, Stage, build_stage

RESULTS = "results.json"
DEV = "dev"
COLUMNS = {FULL_PRECISION_BITS: "full precision", 4: "4 bit", 2: "2 bit", 1: "1 bit"}


@dataclass(frozen=True)
class Row:
    name: str
    quantize: QuantizeConfig | None
    passes: int  # through what is trained, in every step


def rows(parts: tuple[str, ...]) -> Iterator[Row]:
    """The table, from the control to the whole method; `parts` of the network are quantised."""
    yield Row("full-precision control", None, 1)
    alone = QuantizeSchedule(
        passes="one", precisions=(1,), shares=(1.0,), stochastic_share=0.0, ramp=0.0, activations_from=1.0
    )
    labels = QuantizeLosses(ctc=1.0, pieces=1.0, divergence=0.0, frame_divergence=0.0)
    naive = QuantizeConfig(
        scheme="independent",
        per_row=False,
        private_norms=False,
        learnable_scales=False,
        weighted_scales=False,
        parts=parts,
        schedule=alone,
        losses=labels,
    )
    yield Row("naive 1 bit: a fixed scale per tensor", naive, 1)
    scaled = replace(naive, learnable_scales=True)
    yield Row("+ learnable scales", scaled, 1)
    joint = replace(alone, passes="joint", precisions=(1, 2, 4), shares=())
    cotrained = replace(scaled, schedule=joint, losses=replace(labels, ctc=0.5, pieces=0.5))
    yield Row("+ co-training with 2 bit, 4 bit and full precision", cotrained, 2)
    stochastic = replace(cotrained, schedule=replace(joint, stochastic_share=1.0))
    yield Row("+ stochastic precision", stochastic, 3)
    learning = replace(cotrained.losses, divergence=1.0, frame_divergence=1.0)
    distilled = replace(stochastic, losses=learning)
    yield Row("+ distillation", distilled, 3)
    ours = replace(
        distilled,
        scheme="nested",
        per_row=True,
        private_norms=True,
        weighted_scales=True,
        schedule=replace(stochastic.schedule, ramp=0.25, activations_from=0.75),
    )
    yield Row("+ nested codes, weighted scales per row, private norms, ramp, int8 activations", ours, 3)


def results(recipe: Recipe, root: Path, output: Path) -> list[SystemResult]:
    """What the dev set's texts are after training by `recipe`, at every precision that was trained."""
    kept = output / RESULTS
    if not kept.exists():
        loop = Loop(build_stage(recipe, Paths(root, output), join().device), output)
        loop.run()
        write_results(kept, list(_scored(recipe, output / STATE_NAME, loop.stage)))
    return read_results(kept)


def _scored(recipe: Recipe, state: Path, stage: Stage) -> Iterator[SystemResult]:
    checkpoint = load_checkpoint(state)
    network, precision = network_from_checkpoint(checkpoint)
    sha256, utterances = file_sha256(state), stage.dev_set
    for bits in _trained_bits(recipe.quantize):
        _choose(precision, bits, recipe.quantize)
        heard, written = transcribe(network, stage.tokenizer, stage.encoder, utterances)
        texts = heard if stage.encoder is None else written
        scored = [ScoredUtterance(u.id, u.speaker, u.text, text) for u, text in zip(utterances, texts, strict=True)]
        yield SystemResult(COLUMNS[bits], bits, "segment", 0, sha256, {DEV: scored})


def _trained_bits(quantize: QuantizeConfig | None) -> Sequence[int]:
    return (FULL_PRECISION_BITS,) if quantize is None else sorted(quantize.schedule.precisions, reverse=True)


def _choose(precision: Precision | None, bits: int, quantize: QuantizeConfig | None) -> None:
    if precision is not None and quantize is not None:
        precision.bits, precision.ramp, precision.activations = bits, 1.0, quantize.schedule.activations_from < 1


def folder(recipe: Recipe, root: Path, number: int) -> str:
    """A name that another recipe or another start does not share."""
    start = file_sha256(root / recipe.start) if recipe.start else ""
    digest = hashlib.sha256(f"{recipe!r} {start}".encode()).hexdigest()
    return f"{number}-seed{recipe.seed}-{digest[:8]}"


def line(row: Row, seed: int, found: Sequence[SystemResult], above: Sequence[SystemResult]) -> str:
    by_bits = {system.bits: system for system in found}
    cells = [_rate(by_bits[bits]) if bits in by_bits else "" for bits in COLUMNS]
    return f"| {row.name} | {row.passes} | {seed} | {' | '.join(cells)} | {_against(found, above)} |"


def _rate(system: SystemResult) -> str:
    score = next(score for score in summarise(system) if score.set == DEV)
    return f"{percent(score.rate)} ({percent(score.interval.low)}-{percent(score.interval.high)})"


def _against(found: Sequence[SystemResult], above: Sequence[SystemResult]) -> str:
    pair = [system for systems in (above, found) for system in systems if system.bits == 1]
    if len(pair) < 2:
        return ""
    test = next(row.test for row in compare(*pair).rows if row.set == DEV)
    return "" if test is None else f"{test.p:.2g}"


def table(recipe_path: Path, output: Path, seeds: int) -> Iterator[str]:
    """Markdown, row by row as they are trained; `output` keeps the runs."""
    base = load_recipe(recipe_path)
    root = recipe_path.resolve().parent
    yield f"Quantised and trained: {', '.join(base.trainable)}; {base.optimizer.steps} steps."
    yield ""
    yield f"| | passes | seed | {' | '.join(COLUMNS.values())} | p, 1 bit against the row above |"
    yield "|---|---|---" + "|---" * (len(COLUMNS) + 1) + "|"
    for seed in range(base.seed, base.seed + seeds):
        above: list[SystemResult] = []
        for number, row in enumerate(rows(base.trainable)):
            recipe = replace(base, seed=seed, quantize=row.quantize)
            found = results(recipe, root, output / folder(recipe, root, number))
            yield line(row, seed, found, above)
            above = found
