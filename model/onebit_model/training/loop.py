"""`onebit train RECIPE`: stages of one loop, resumable to the step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from onebit_model.data.batching import Item, batches_from
from onebit_model.errors import RecipeError
from onebit_model.network.checkpoint import STATE_NAME, WEIGHTS_NAME, load_checkpoint, save_checkpoint, save_weights
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.network.refinement import Refinement
from onebit_model.training.dev_scoring import dev_error_rates
from onebit_model.training.outputs import Batch
from onebit_model.training.processes import join
from onebit_model.training.read_ahead import read_ahead
from onebit_model.training.recipe import load_recipe, recipe_stages
from onebit_model.training.schedule import apply_rates, parameter_groups, rate_factor
from onebit_model.training.sources import Heard
from onebit_model.training.stage import Paths, Stage, build_stage
from onebit_model.training.targets import ClipTargets, PieceTargets, item_targets, piece_targets
from onebit_model.training.training_log import TrainingLog


class Work(NamedTuple):
    """A batch as it was heard, what it is to become, and what its step goes on drawing from."""

    heard: Heard
    targets: list[ClipTargets]
    pieces: PieceTargets | None
    rng: np.random.Generator


class Loop:
    """Steps of a stage; the state that changes: weights, optimiser, step count."""

    def __init__(self, stage: Stage, output: Path) -> None:
        self.stage = stage
        self.recipe = stage.recipe
        self.output = output
        output.mkdir(parents=True, exist_ok=True)
        self.processes = join()
        self.device = self.processes.device
        self.share = self.processes.share(self.recipe.optimizer.accumulate)
        self.network = stage.network
        self.processes.same_weights(self.network)
        quantize = self.recipe.quantize
        learnable = quantize is None or quantize.learnable_scales
        alone = 0 if quantize is None else quantize.learns_alone
        self.refinement = Refinement(self.network, alone) if alone else None
        names = None if self.refinement is None else self.refinement.names
        groups = list(parameter_groups(self.network, self.recipe.optimizer, self.recipe.trainable, learnable, names))
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.step = 0
        self._seen: dict[str, list[Tensor]] = defaultdict(list)
        if (output / STATE_NAME).exists():
            self._resume()

    def _resume(self) -> None:
        state = load_checkpoint(self.output / STATE_NAME)
        planned = [(group["peak"], group["weight_decay"]) for group in self.optimizer.param_groups]
        try:
            self.network.load_state_dict(state.network)
            self.optimizer.load_state_dict(state.optimizer)
        except (RuntimeError, ValueError) as error:
            raise RecipeError(
                f"{self.output / STATE_NAME} is the state of another network than the recipe's: "
                "name another output, or remove it"
            ) from error
        for group, (peak, decay) in zip(self.optimizer.param_groups, planned, strict=True):
            group["peak"], group["weight_decay"] = peak, decay  # the recipe's, should it have changed
        self.step = state.step

    def work(self) -> Iterator[Work]:
        """This process's share of the batches; every random draw depends on the seed, the step and the batch alone."""
        parts, seed = self.recipe.optimizer.accumulate, self.recipe.seed
        durations, seconds = self.stage.training_set.durations_seconds, self.recipe.optimizer.batch_seconds
        batches = batches_from(durations, seconds, seed, self.step * parts, self.recipe.join)
        shares = (
            (items, [seed, *divmod(number, parts)])
            for number, items in enumerate(batches, self.step * parts)
            if number % parts in self.share
        )
        return read_ahead(self._prepare, shares, self.recipe.data.loader_threads)

    def _prepare(self, share: tuple[list[Item], list[int]]) -> Work:
        items, seed = share
        rng = np.random.default_rng(seed)
        targets = [item_targets(item, self.stage.training_set.targets) for item in items]
        pieces = None
        if self.network.decoder is not None:
            size = self.recipe.model.decoder_vocabulary_size
            pieces = piece_targets(targets, size, self.recipe.objective.piece_noise, rng)
        return Work(self.stage.source.hear(items, rng), targets, pieces, rng)

    def train_step(self, work: Iterator[Work]) -> None:
        """One optimiser step; what it saw is kept for the log."""
        optimizer = self.recipe.optimizer
        self.network.train()
        for heard, targets, pieces, rng in islice(work, len(self.share)):
            inputs = self.stage.source.features(heard, self.device, rng)
            told = None if pieces is None else pieces.to(self.device)
            batch = Batch(inputs, [target.tokens for target in targets], told)
            with mixed_precision(self.device):
                for term in self.stage.objective(self.network, batch, self.step / optimizer.steps, rng):
                    (term.loss / optimizer.accumulate).backward()  # type: ignore[no-untyped-call]
                    for name, value in term.values.items():
                        self._seen[name].append(value)
        self.processes.sum_gradients(self.network.parameters())
        norm = self.clip_gradients(optimizer.clip_norm)
        self._seen["gradient"].append(norm.detach())
        # A fused optimiser leaves a step out that a scaler found infinite, without the CPU's waiting for it.
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        apply_rates(self.optimizer, rate_factor(self.step, optimizer))
        self.optimizer.step()
        if self.refinement is not None:
            self.refinement.hold()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def clip_gradients(self, limit: float) -> Tensor:
        """New layers by themselves: a fresh head's gradients would leave nothing of the others'. The norm of all."""
        by_rate: dict[float, list[torch.nn.Parameter]] = defaultdict(list)
        for group in self.optimizer.param_groups:
            by_rate[group["peak"]] += group["params"]
        norms = [torch.nn.utils.clip_grad_norm_(parameters, limit) for parameters in by_rate.values()]
        return torch.stack(norms).norm()

    def seen(self) -> dict[str, float]:
        """Means of what was seen since the last call: the only time that the CPU waits for the device."""
        values = self.processes.mean_values({name: [float(v) for v in kept] for name, kept in self._seen.items()})
        self._seen.clear()
        return values | {"rate_factor": rate_factor(self.step - 1, self.recipe.optimizer)}

    def save(self) -> None:
        if self.processes.first:
            state = self.stage.checkpoint(self.step, self.optimizer.state_dict())
            save_checkpoint(self.output / STATE_NAME, state)

    def run(self, stop_at: int | None = None) -> None:
        """Train to the recipe's last step (or `stop_at`), then write weights.pt."""
        recipe = self.recipe
        last = min(recipe.optimizer.steps, stop_at or recipe.optimizer.steps)
        saved = time.monotonic()
        work = self.work()
        first = self.processes.first
        with TrainingLog(self.output, self.step) if first else nullcontext() as log, _progress(shown=first) as progress:
            task = progress.add_task(recipe.name, total=recipe.optimizer.steps, completed=self.step, loss="")
            while self.step < last:
                self.train_step(work)
                if self.step % recipe.log_every and self.step < last:
                    continue
                values = self.seen()
                if recipe.evaluate_every and self.step % recipe.evaluate_every == 0:
                    values |= self.evaluate()
                if log is not None:
                    log.write(self.step, values)
                progress.update(task, completed=self.step, loss=_summary(values))
                if time.monotonic() - saved > 60 * recipe.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
            self.save()
        if first:
            save_weights(self.output / WEIGHTS_NAME, self.stage.checkpoint(self.step, {}))
        self.processes.wait()

    def evaluate(self) -> dict[str, float]:
        """Word error rate on the dev set, full context, for every precision of the recipe."""
        rates: dict[str, float] = {}
        if self.processes.first:
            rates = dev_error_rates(self.stage)
        self.processes.wait()
        return rates


def _summary(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "rate_factor")


def _progress(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        refresh_per_second=1,
        disable=not shown,
    )


def train(recipe_path: Path, output: Path, stop_at: int | None = None) -> Loop:
    """Follow a recipe, resuming where `output` holds a state; returns the last stage's loop.

    A recipe of several stages writes each into a folder of its own, `output`/STAGE. Finished stages are passed over,
    also where only their weights.pt was kept.
    """
    stages = recipe_stages(recipe_path)
    for stage in stages:
        load_recipe(stage)  # a mistake in the last one is found before the first one is trained
    for stage in stages:
        folder = output / stage.stem if len(stages) > 1 else output
        if stage != stages[-1] and (folder / WEIGHTS_NAME).exists() and not (folder / STATE_NAME).exists():
            continue
        paths = Paths(stage.resolve().parent, folder)
        loop = Loop(build_stage(load_recipe(stage), paths, join().device), folder)
        loop.run(stop_at)
    return loop
