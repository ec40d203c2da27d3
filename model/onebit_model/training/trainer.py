"""`onebit train RECIPE`: stages of one loop, resumable to the step."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from onebit_model.data.augmentation import AugmentConfig, WaveformAugmenter, read_noises
from onebit_model.data.batching import batches_from
from onebit_model.data.corpora import Utterance, read_corpus, select
from onebit_model.errors import RecipeError
from onebit_model.network.assembly import network_from_checkpoint, starting_network
from onebit_model.network.checkpoint import (
    STATE_NAME,
    WEIGHTS_NAME,
    Checkpoint,
    follow,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from onebit_model.network.conformer import SEGMENT, Conformer
from onebit_model.network.frontend import LogMel
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.network.pretrained import wake_silent_layers
from onebit_model.network.quantizers import Precision, quantise
from onebit_model.network.scale_fitting import fit_scales
from onebit_model.text.tokenizer import Tokenizer, read_sentences, train_tokenizer
from onebit_model.training.dev_scoring import dev_error_rates
from onebit_model.training.feature_cache import (
    ENCODER,
    CacheKey,
    FeatureCache,
    build_cache,
    network_digest,
    utterances_digest,
)
from onebit_model.training.objectives import Batch, CotrainingObjective, CtcObjective, Objective
from onebit_model.training.processes import join
from onebit_model.training.read_ahead import read_ahead
from onebit_model.training.recipe import (
    CacheConfig,
    CorpusSource,
    QuantizeConfig,
    Recipe,
    load_recipe,
    quantizer_options,
    recipe_stages,
)
from onebit_model.training.schedule import apply_rates, parameter_groups, rate_factor
from onebit_model.training.sources import AudioSource, CachedSource, Source, output_frames
from onebit_model.training.teachers import CachedTeacher, LiveTeacher, Teacher
from onebit_model.training.training_log import TrainingLog

STAGE_PREFIX = "stage:"


class Work(NamedTuple):
    """A batch, and what its step goes on drawing from."""

    batch: Batch
    rng: np.random.Generator


class Trainer:
    """One stage of training: everything that a step needs, and the step count."""

    def __init__(self, recipe: Recipe, root: Path, output: Path, caches: Path) -> None:
        """`root` resolves the recipe's relative paths; state goes to `output`, cached outputs to `caches`."""
        self.recipe = recipe
        self.root = root
        self.output = output
        self.caches = caches
        output.mkdir(parents=True, exist_ok=True)
        self.processes = join()
        self.device = self.processes.device
        self.share = self.processes.share(recipe.optimizer.accumulate)
        self.train_set = self._read(recipe.data.train)
        if not self.train_set:
            raise RecipeError(f"recipe {recipe.name}: data.train holds no labelled utterance of 30 s or less")
        self.dev_set = self._read(recipe.data.dev)
        self._build()

    def _path(self, name: str) -> Path:
        if name.startswith(STAGE_PREFIX):
            return self.output.parent / name.removeprefix(STAGE_PREFIX) / WEIGHTS_NAME
        return (self.root / name).resolve()

    def _read(self, sources: tuple[CorpusSource, ...]) -> list[Utterance]:
        utterances = []
        for source in sources:
            clips = read_corpus(self._path(source.path), source.layout)
            kept = select(clips, list(source.corpora) or None, source.min_teacher_logprob, source.stride)
            utterances += kept * source.repeat
        return utterances

    def _build(self) -> None:
        recipe = self.recipe
        if recipe.start and recipe.start_mean:
            raise RecipeError("start and start_mean exclude each other: remove one")
        starts = [self._path(name) for name in (recipe.start, *recipe.start_mean) if name]
        self.network, started = starting_network(starts, recipe.model, recipe.seed)
        self.tokenizer = self._tokenizer(started)
        self.train_set, self.targets = self._learnable()
        noises = read_noises(self._path(recipe.data.noise)) if recipe.data.noise else []
        self.augmenter: Callable[[AugmentConfig], WaveformAugmenter] = lambda c: WaveformAugmenter(c, noises)
        self.source = self._source(recipe.cache)
        self.precision: Precision | None = None
        self.objective: Objective = CtcObjective(recipe.intermediate_ctc)
        if recipe.quantize is not None:
            self._quantise(recipe.quantize, started)
        elif started is not None and started.quantize is not None:
            raise RecipeError("start is a quantised network: the recipe needs a table [quantize]")
        self.network.to(self.device)
        self.processes.same_weights(self.network)
        learnable = recipe.quantize is None or recipe.quantize.learnable_scales
        groups = list(parameter_groups(self.network, recipe.optimizer, recipe.trainable, learnable))
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.step = 0
        if (self.output / STATE_NAME).exists():
            self._resume()

    def _tokenizer(self, started: Checkpoint | None) -> Tokenizer:
        if started is not None:
            return Tokenizer(started.tokenizer)
        texts = [u.text for u in self.train_set]
        if self.recipe.data.sentences:
            texts += read_sentences(self._path(self.recipe.data.sentences))
        return train_tokenizer(texts, self.recipe.model.vocabulary_size)

    def _learnable(self) -> tuple[list[Utterance], list[Tensor]]:
        """The clips of the training set that have more frames than tokens, and their tokens."""
        encoded = [(u, self._tokens(u)) for u in self.train_set]
        kept = [(u, torch.tensor(ids)) for u, ids in encoded if output_frames(u.duration_seconds) > len(ids)]
        if not kept:
            raise RecipeError(f"recipe {self.recipe.name}: no clip of data.train is long enough for its text")
        utterances, targets = zip(*kept, strict=True)
        return list(utterances), list(targets)

    def _tokens(self, utterance: Utterance) -> list[int]:
        try:
            return self.tokenizer.encode(utterance.text)
        except ValueError as error:
            raise RecipeError(f"{utterance.corpus}: utterance {utterance.id}: {error}") from error

    def _source(self, cache: CacheConfig | None) -> Source:
        recipe = self.recipe
        if cache is None:
            return AudioSource(self.train_set, self.augmenter(recipe.augment), recipe.chunks, LogMel())
        versions = tuple(
            self._cache(self.network, cache.after_block, version.chunk, version.seed, version.augment)
            for version in cache.versions
        )
        chunks = tuple(version.chunk for version in cache.versions)
        return CachedSource(versions, chunks, recipe.masking, cache.after_block)

    def _cache(
        self, network: Conformer, after_block: int, chunk: int, seed: int, augment: AugmentConfig
    ) -> FeatureCache:
        digest = network_digest(network, after_block)
        listed = utterances_digest(self.train_set)
        key = CacheKey(digest, after_block, chunk, seed, repr(augment), listed)
        if not self.processes.first:  # the first process computes, the others find its result
            self.processes.wait()
        cache = build_cache(self.caches, network, self.train_set, self.augmenter(augment), key)
        if self.processes.first:
            self.processes.wait()
        return cache

    def _quantise(self, config: QuantizeConfig, started: Checkpoint | None) -> None:
        teacher = self._teacher(config) if config.teacher else None
        if started is not None and started.quantize is not None:
            if started.quantize != quantizer_options(config):
                raise RecipeError(
                    f"start is quantised as {started.quantize}, the recipe as {quantizer_options(config)}"
                )
            if config.teacher_before:
                before, after = (load_checkpoint(self._path(n)) for n in (config.teacher_before, config.teacher))
                started = follow(started, before, after)
            self.network, precision = network_from_checkpoint(started)
            assert precision is not None
            self.precision = precision
        else:
            wake_silent_layers(self.network, config.parts)
            self.precision = quantise(self.network, **quantizer_options(config))
            fit_scales(self.network)
        self.objective = CotrainingObjective(config, self.precision, teacher)

    def _teacher(self, config: QuantizeConfig) -> Teacher:
        full, _ = network_from_checkpoint(load_checkpoint(self._path(config.teacher)))
        if config.teacher_input == "student":
            return LiveTeacher(full.to(self.device))
        cache = self._cache(full, ENCODER, SEGMENT, 0, AugmentConfig())
        return CachedTeacher(cache, full.to(self.device))

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

    def checkpoint(self) -> Checkpoint:
        quantize = None if self.recipe.quantize is None else quantizer_options(self.recipe.quantize)
        return Checkpoint(
            self.recipe.model,
            self.network.state_dict(),
            self.tokenizer.model,
            self.step,
            self.recipe.name,
            quantize,
            self.optimizer.state_dict(),
        )

    def batches(self) -> Iterator[list[int]]:
        """Batches from the current step on; one optimiser step takes `accumulate` of them."""
        optimizer = self.recipe.optimizer
        durations = [u.duration_seconds for u in self.train_set]
        return batches_from(durations, optimizer.batch_seconds, self.recipe.seed, self.step * optimizer.accumulate)

    def work(self) -> Iterator[Work]:
        """This process's share of the batches; every random draw depends on the seed, the step and the batch alone."""
        parts = self.recipe.optimizer.accumulate
        shares = (
            (indices, [self.recipe.seed, *divmod(number, parts)])
            for number, indices in enumerate(self.batches(), self.step * parts)
            if number % parts in self.share
        )
        return read_ahead(self._prepare, shares, self.recipe.data.loader_threads)

    def _prepare(self, share: tuple[list[int], list[int]]) -> Work:
        indices, seed = share
        rng = np.random.default_rng(seed)
        return Work(Batch(indices, self.source(indices, rng), [self.targets[i] for i in indices]), rng)

    def train_step(self, work: Iterator[Work]) -> dict[str, float]:
        """One optimiser step."""
        optimizer = self.recipe.optimizer
        seen: dict[str, list[float]] = defaultdict(list)
        self.network.train()
        for batch, rng in islice(work, len(self.share)):
            on_device = replace(batch, inputs=batch.inputs.to(self.device))
            with mixed_precision(self.device):
                for term in self.objective(self.network, on_device, self.step / optimizer.steps, rng):
                    (term.loss / optimizer.accumulate).backward()  # type: ignore[no-untyped-call]
                    for name, value in term.values.items():
                        seen[name].append(value)
        self.processes.sum_gradients(self.network.parameters())
        values = self.processes.mean_values(seen)
        values["gradient"] = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), optimizer.clip_norm))
        factor = rate_factor(self.step, optimizer)
        apply_rates(self.optimizer, factor)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return values | {"rate_factor": factor}

    def save(self) -> None:
        if self.processes.first:
            save_checkpoint(self.output / STATE_NAME, self.checkpoint())

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
                values = self.train_step(work)
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
            save_weights(self.output / WEIGHTS_NAME, self.checkpoint())
        self.processes.wait()

    def evaluate(self) -> dict[str, float]:
        """Word error rate on the dev set, full context, for every precision of the recipe."""
        rates: dict[str, float] = {}
        if self.processes.first:
            rates = dev_error_rates(self.network, self.precision, self.tokenizer, self.dev_set)
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


def train(recipe_path: Path, output: Path, caches: Path | None = None, stop_at: int | None = None) -> Trainer:
    """Follow a recipe, resuming where `output` holds a state; returns the last stage's trainer.

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
        recipe = load_recipe(stage)
        trainer = Trainer(recipe, stage.resolve().parent, folder, caches or output / "caches")
        trainer.run(stop_at)
    return trainer
