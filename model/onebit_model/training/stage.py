"""One stage of training, built from its recipe: everything that a step needs, and nothing that changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onebit_model.data.augmentation import Augmenter, read_noises
from onebit_model.data.corpora import Utterance, read_corpus, select
from onebit_model.data.no_speech import no_speech_clips
from onebit_model.errors import RecipeError
from onebit_model.network.assembly import network_from_checkpoint, starting_network
from onebit_model.network.checkpoint import WEIGHTS_NAME, Checkpoint, load_checkpoint
from onebit_model.network.conformer import Conformer
from onebit_model.network.frontend import LogMel
from onebit_model.network.gptq import input_grams, round_network
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.network.pretrained import wake_silent_layers
from onebit_model.network.quantizers import Precision, compile_quantizers, quantise
from onebit_model.network.scale_fitting import fit_scales, input_squares
from onebit_model.network.whisper_file import WHISPER_BASE, is_whisper, tokenizer_file
from onebit_model.text.piece_encoder import PieceEncoder, cut_vocabulary, train_vocabulary
from onebit_model.text.tokenizer import Tokenizer, read_sentences, train_tokenizer
from onebit_model.text.word_frequencies import written_words
from onebit_model.training.objectives import CotrainingObjective, HybridObjective, Objective
from onebit_model.training.outputs import Batch, Teacher, run
from onebit_model.training.recipe import CorpusSource, ObjectiveConfig, QuantizeConfig, Recipe, quantizer_options
from onebit_model.training.soft_labels import SoftLabelFile
from onebit_model.training.sources import ClipStore, ReadClips, ResidentClips, Source
from onebit_model.training.targets import item_targets, piece_targets
from onebit_model.training.training_set import TrainingSet, learnable, written_texts
from onebit_model.training.whisper_teacher import WhisperTeacher

STAGE_PREFIX = "stage:"
WEIGHING_BATCHES = 6  # that tell how much each input of a matrix weighs
FEEDBACK_BATCHES = 30  # that tell how the inputs correlate: 2,048 of them need some thousand frames and pieces
WEIGHING_CLIPS = 12


@dataclass(frozen=True)
class Stage:
    """`quantize`: how the network was quantised, as it travels in checkpoints."""

    recipe: Recipe
    network: Conformer
    tokenizer: Tokenizer
    encoder: PieceEncoder | None
    training_set: TrainingSet
    dev_set: list[Utterance]
    source: Source
    objective: Objective
    precision: Precision | None
    quantize: dict[str, object] | None

    def checkpoint(self, step: int, optimizer: dict[str, object]) -> Checkpoint:
        return Checkpoint(
            self.recipe.model,
            self.network.state_dict(),
            self.tokenizer.model,
            step,
            self.recipe.name,
            self.quantize,
            optimizer,
            "" if self.encoder is None else self.encoder.to_json(),
        )


@dataclass(frozen=True)
class Paths:
    """`root` resolves a recipe's relative paths; results of other stages lie in the folders beside `output`."""

    root: Path
    output: Path

    def __call__(self, name: str) -> Path:
        if name.startswith(STAGE_PREFIX):
            return self.output.parent / name.removeprefix(STAGE_PREFIX) / WEIGHTS_NAME
        return Path(name) if name == WHISPER_BASE else (self.root / name).resolve()


def build_stage(recipe: Recipe, paths: Paths, device: torch.device) -> Stage:
    """Reads corpora and starting weights; raises RecipeError for a recipe that cannot be followed."""
    utterances = _utterances(recipe, paths)
    texts = written_texts(utterances, recipe.data.written, paths)
    starts = [paths(name) for name in (recipe.start, *recipe.start_mean) if name]
    started = load_checkpoint(starts[-1]) if starts and not is_whisper(starts[-1]) else None
    tokenizer = _tokenizer(recipe, paths, utterances, started)
    encoder = _piece_encoder(recipe, texts, started, starts)
    network, started = starting_network(starts, recipe.model, recipe.seed, encoder.whisper_ids if encoder else ())
    soft = SoftLabelFile(paths(recipe.data.soft_labels)) if recipe.data.soft_labels else None
    training_set = learnable(utterances, texts, tokenizer, encoder, recipe.objective.machine_weight, soft)
    clips: ClipStore = (
        ResidentClips(training_set.utterances, device) if recipe.data.resident else ReadClips(training_set.utterances)
    )
    noises = read_noises(paths(recipe.data.noise)) if recipe.data.noise else []
    source = Source(clips, Augmenter(recipe.augment, noises, clips.device), recipe.join, recipe.chunks, LogMel())
    network.to(device)
    objective: Objective = HybridObjective(recipe.objective, _whisper(recipe.objective, paths, device))
    precision, quantize = None, None
    if recipe.quantize is not None:
        quantize = quantizer_options(recipe.quantize, paths)
        if recipe.quantize.compiled:
            compile_quantizers()
        network, precision = _quantised(network, started, recipe, quantize, source, training_set)
        teacher = _teacher(recipe.quantize, paths, device)
        objective = CotrainingObjective(recipe.quantize, precision, teacher, recipe.objective.soft_share)
    elif started is not None and started.quantize is not None:
        raise RecipeError("start is a quantised network: the recipe needs a table [quantize]")
    dev_set = read_sources(recipe.data.dev, paths)
    return Stage(
        recipe, network.to(device), tokenizer, encoder, training_set, dev_set, source, objective, precision, quantize
    )


def _utterances(recipe: Recipe, paths: Paths) -> list[Utterance]:
    utterances = read_sources(recipe.data.train, paths)
    if not utterances:
        raise RecipeError(f"recipe {recipe.name}: data.train holds no labelled utterance of 30 s or less")
    if recipe.data.no_speech_clips:
        noises = read_noises(paths(recipe.data.noise)) if recipe.data.noise else []
        recordings = [np.asarray(noise.numpy(), np.float32) for noise in noises]
        utterances += no_speech_clips(recipe.data.no_speech_clips, recipe.seed, recordings)
    return utterances


def read_sources(sources: tuple[CorpusSource, ...], paths: Callable[[str], Path]) -> list[Utterance]:
    """The clips that a recipe names, in their order."""
    utterances = []
    for source in sources:
        clips = read_corpus(paths(source.path), source.layout)
        kept = select(clips, list(source.corpora) or None, source.min_teacher_logprob, source.stride)
        utterances += kept * source.repeat
    return utterances


def _tokenizer(recipe: Recipe, paths: Paths, utterances: list[Utterance], started: Checkpoint | None) -> Tokenizer:
    if started is not None:
        return Tokenizer(started.tokenizer)
    texts = [u.text for u in utterances if u.text]
    if recipe.data.sentences:
        texts += read_sentences(paths(recipe.data.sentences))
    return train_tokenizer(texts, recipe.model.vocabulary_size)


def _piece_encoder(
    recipe: Recipe, texts: Sequence[str], started: Checkpoint | None, starts: Sequence[Path]
) -> PieceEncoder | None:
    """Of the checkpoint; else Whisper's, cut to what the texts use; else trained on them."""
    if not recipe.model.has_decoder:
        return None
    if started is not None:
        return PieceEncoder.from_json(started.pieces)
    spelled = [f" {text}" for text in texts if text]
    size = recipe.model.decoder_vocabulary_size
    if not starts:
        return train_vocabulary(spelled, size)
    total = recipe.data.common_words
    words = ((word, share * total) for word, share in written_words()) if total else ()
    return cut_vocabulary(tokenizer_file(), spelled, size, words)


def _quantised(
    network: Conformer,
    started: Checkpoint | None,
    recipe: Recipe,
    options: dict[str, object],
    source: Source,
    training_set: TrainingSet,
) -> tuple[Conformer, Precision]:
    assert recipe.quantize is not None
    if started is not None and started.quantize is not None:
        if started.quantize != options:
            raise RecipeError(f"start is quantised as {started.quantize}, the recipe as {options}")
        network, precision = network_from_checkpoint(started)
        assert precision is not None
        return network, precision
    squares: Mapping[str, torch.Tensor] | None = None
    grams: Mapping[str, torch.Tensor] = {}
    if recipe.quantize.error_feedback:
        with input_grams(network) as grams:
            _pass_batches(network, recipe, source, training_set, FEEDBACK_BATCHES)
        squares = {name: gram.diagonal() for name, gram in grams.items()}
    elif recipe.quantize.weighted_scales:
        with input_squares(network) as squares:
            _pass_batches(network, recipe, source, training_set, WEIGHING_BATCHES)
    wake_silent_layers(network, recipe.quantize.parts)
    precision = quantise(network, **options)  # type: ignore[arg-type]
    fit_scales(network, squares)
    if grams:
        round_network(network, grams)
    return network, precision


@torch.no_grad()
def _pass_batches(network: Conformer, recipe: Recipe, source: Source, training_set: TrainingSet, batches: int) -> None:
    """A few batches of the training set through the network, for those that look at its inputs."""
    device = next(network.parameters()).device
    rng = np.random.default_rng([recipe.seed, 0])
    network.eval()
    for _ in range(batches):
        items = [(int(i),) for i in rng.integers(len(training_set.utterances), size=WEIGHING_CLIPS)]
        heard = source.hear(items, rng)
        joined = [item_targets(item, training_set.targets) for item in items]
        pieces = piece_targets(joined, recipe.model.decoder_vocabulary_size, 0.0, rng)
        moved = None if pieces is None or network.decoder is None else pieces.to(device)
        batch = Batch(source.features(heard, device, rng), [t.tokens for t in joined], moved)
        with mixed_precision(device):
            run(network, batch)


def _whisper(config: ObjectiveConfig, paths: Paths, device: torch.device) -> WhisperTeacher | None:
    if not config.whisper:
        return None
    network, _ = network_from_checkpoint(load_checkpoint(paths(config.whisper)))
    return WhisperTeacher(network.to(device), config.whisper_silence_seconds)


def _teacher(config: QuantizeConfig, paths: Paths, device: torch.device) -> Teacher | None:
    if not config.teacher:
        return None
    full, precision = network_from_checkpoint(load_checkpoint(paths(config.teacher)))
    if precision is not None:
        raise RecipeError(f"teacher {config.teacher} is a quantised network: name the one it learned from")
    return Teacher(full.to(device))
