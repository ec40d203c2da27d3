"""A training recipe: one TOML file, read into frozen dataclasses; an unknown key is an error that names it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebit_model.config import ModelConfig
from onebit_model.data.augmentation import AugmentConfig
from onebit_model.data.batching import JoinConfig
from onebit_model.errors import RecipeError
from onebit_model.files.tables import read_toml, table_from

EVERYTHING = ("",)  # the prefix of every name
NESTED_ONE_BIT_CLIP = 3.0


@dataclass(frozen=True)
class CorpusSource:
    """One corpus and which part of it: layouts are those of `corpora.read_corpus`."""

    path: str
    layout: str = "manifest"
    corpora: tuple[str, ...] = ()  # of a folder of manifests; empty keeps all
    min_teacher_logprob: float = -1.0
    stride: int = 1
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise RecipeError(f"stride must be 1 or more, not {self.stride}")


@dataclass(frozen=True)
class DataConfig:
    train: tuple[CorpusSource, ...]
    dev: tuple[CorpusSource, ...] = ()
    noise: str = ""
    sentences: str = ""  # for the tokenizer, together with the training texts
    common_words: int = 0  # of general English that count beside the texts in cutting Whisper's vocabulary
    written: str = ""  # label file of written texts for clips whose corpus has none; "words": the words themselves
    soft_labels: str = ""  # a teacher's pieces, made by `onebit soft-labels`
    no_speech_clips: int = 0  # sounds without words that are made for the decoder to be silent on
    resident: bool = False  # all audio in the device's memory
    loader_threads: int = 0  # that prepare batches ahead, in each process; 0 = none: right where the CPU trains

    def __post_init__(self) -> None:
        if self.resident and self.loader_threads:
            raise RecipeError("data.resident needs no loader_threads: remove one")


@dataclass(frozen=True)
class OptimizerConfig:
    steps: int
    batch_seconds: float = 90.0
    learning_rate: float = 2e-4
    new_learning_rate: float = 1e-3
    new: tuple[str, ...] = ("head", "ff1", "convolution")  # parts of parameter names at the higher rate
    scale_learning_rate: float = 1e-3
    proportional: tuple[str, ...] = ()  # parts of names of what moves as far as its gradient says (`schedule`)
    proportional_rate: float = 0.01  # how far all of these move together where a gradient is at its limit of 1
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_start: float = 0.0  # share of the steps after which the rate falls linearly to zero
    clip_norm: float = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise RecipeError(f"accumulate must be 1 or more, not {self.accumulate}")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Hybrid CTC/attention (Watanabe et al. 2017): cross-entropy of the pieces and `ctc_weight` times CTC."""

    ctc_weight: float = 0.3
    ctc_gradient: float = 1.0  # share of CTC's gradient that goes on from the head into the encoder
    soft_share: float = 0.0  # of the cross-entropy that is with the teacher's soft labels
    piece_noise: float = 0.0  # share of wrong pieces among those that the decoder is told
    machine_weight: float = 1.0  # of clips whose labels a machine made
    intermediate_ctc: float = 0.0  # share of CTC that the middle block has; 0 = none
    whisper: str = ""  # a stage that is Whisper as it was loaded: the teacher of the two terms below
    whisper_silence_seconds: float = 4.0  # that it hears after the clips: where there is none it does not end
    whisper_divergence: float = 0.0  # weight of the divergence of the pieces' posteriors from its own
    whisper_distance: float = 0.0  # weight of the distance of the encoder's output from pairs of its frames

    def __post_init__(self) -> None:
        if not self.whisper and (self.whisper_divergence or self.whisper_distance):
            raise RecipeError("objective.whisper_divergence and whisper_distance need objective.whisper")


@dataclass(frozen=True)
class QuantizeSchedule:
    """Which precisions a step runs, and how quantisation comes in over the steps."""

    passes: str = "one"  # one | joint
    precisions: tuple[int, ...] = (1, 2, 4)
    shares: tuple[float, ...] = (0.5, 0.25, 0.25)  # of the steps, for each precision, where a step has one pass
    grow: float = 0.0  # share of the steps over which the share of low-bit layers grows to all of them
    one_bit_grow: float = 0.0  # the same for 1 bit, where it takes longer; 0 = as `grow`
    first_share: float = 0.1  # of low-bit layers at the first step, where it grows; the others run at 4 bit
    stochastic_share: float = 0.1  # of the 2 and 4 bit steps in which each layer draws 1 bit or not
    ramp: float = 0.0  # share of the steps over which W is blended into its quantised value
    activations_from: float = 0.75  # share of the steps after which activations are int8
    # 1-bit gradients pass below this many times a row's mean; small: only to what may flip soon
    one_bit_clip: float = NESTED_ONE_BIT_CLIP
    own_pieces: float = 0.0  # share of the pieces told to the decoder that it would have written itself; with a teacher

    def __post_init__(self) -> None:
        if self.passes not in ("one", "joint"):
            raise RecipeError(f"passes must be one or joint, not {self.passes!r}")
        if self.passes == "one" and len(self.shares) != len(self.precisions):
            raise RecipeError("schedule.shares must have one number for each of schedule.precisions")


@dataclass(frozen=True)
class QuantizeLosses:
    """Weights of the terms of a low-bit pass (arXiv 2505.21245, Eq. 6-8, and matching)."""

    ctc: float = 0.5  # with the labels
    pieces: float = 0.5  # cross-entropy of the decoder with the labels
    divergence: float = 1.0  # of the decoder's posteriors from the teacher's
    frame_divergence: float = 1.0  # of the CTC head's
    blocks: float = 0.0  # distance of every block's output behind the norm that follows


@dataclass(frozen=True)
class QuantizeConfig:
    """Co-training (arXiv 2505.21245, section 3); see `objectives` for what each switch does."""

    scheme: str = "nested"  # nested | independent | ternary: 2 bit is the paper's -s, 0, s
    per_row: bool = True
    private_norms: bool = True
    learnable_scales: bool = True  # else they stay as fitted to the starting weights
    parts: tuple[str, ...] = EVERYTHING  # prefixes of the names of what is quantised (ablations)
    allocation: str = ""  # JSON: planes of each layer at each precision, made by `onebit bench sensitivity`
    weighted_scales: bool = True  # scales start where errors, weighed by the activations' squares, are least
    error_feedback: bool = False  # codes start as rounded with error feedback (GPTQ) on the training set
    teacher: str = ""  # checkpoint of the full-precision model; it hears what the student hears, in full context
    learns_alone: int = 0  # the only precision that learns, within the codes of the lower ones, which stay
    compiled: bool = False  # by torch, once per process: half a minute and, on a CPU, a C++ compiler
    schedule: QuantizeSchedule = field(default_factory=QuantizeSchedule)
    losses: QuantizeLosses = field(default_factory=QuantizeLosses)

    def __post_init__(self) -> None:
        if self.scheme not in ("nested", "independent", "ternary"):
            raise RecipeError(f"scheme must be nested, independent or ternary, not {self.scheme!r}")
        if self.schedule.passes == "joint" and self.teacher:
            raise RecipeError('passes = "joint" teaches with its own higher precision: no teacher')
        if self.learns_alone and (self.learns_alone,) != self.schedule.precisions:
            raise RecipeError(f"learns_alone = {self.learns_alone} needs schedule.precisions = [{self.learns_alone}]")
        if self.error_feedback and (self.scheme != "nested" or not self.per_row):
            raise RecipeError("error_feedback is of nested codes with scales per row: leave it out")
        if self.scheme != "nested" and self.schedule.one_bit_clip != NESTED_ONE_BIT_CLIP:
            raise RecipeError('one_bit_clip is of nested codes: leave it out with another scheme than "nested"')


@dataclass(frozen=True)
class Recipe:
    """One stage of training; paths are relative to the recipe's own folder.

    `stage:NAME` as `start` or `teacher` is the result of an earlier stage, in the output folder beside this one.
    """

    name: str
    data: DataConfig
    optimizer: OptimizerConfig
    seed: int = 1
    model: ModelConfig = field(default_factory=ModelConfig)
    start: str = ""  # "" = random, whisper-base, a .safetensors of Whisper, a training checkpoint, or stage:NAME
    start_mean: tuple[str, ...] = ()  # checkpoints of one network: start from the mean of their weights
    trainable: tuple[str, ...] = EVERYTHING  # prefixes of parameter names
    chunks: tuple[int, ...] = (8, 16, 0)
    join: JoinConfig = field(default_factory=JoinConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    quantize: QuantizeConfig | None = None
    checkpoint_minutes: float = 3.0
    evaluate_every: int = 0
    log_every: int = 1

    def __post_init__(self) -> None:
        if self.start and self.start_mean:
            raise RecipeError("start and start_mean exclude each other: remove one")


def quantizer_options(config: QuantizeConfig, path: Callable[[str], Path]) -> dict[str, Any]:
    """Arguments of `quantise` that belong to a recipe; they travel in the checkpoint."""
    options: dict[str, Any] = {
        "per_row": config.per_row,
        "scheme": config.scheme,
        "private_norms": config.private_norms,
    }
    # Without what is usual: as in checkpoints of before there was a choice.
    if config.parts != EVERYTHING:
        options["parts"] = list(config.parts)
    if config.allocation:
        options["allocation"] = _allocation(path(config.allocation))
    return options


def _allocation(path: Path) -> dict[str, dict[str, int]]:
    try:
        allocation: dict[str, dict[str, int]] = json.loads(path.read_text())["planes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: no allocation of planes: {error}") from error
    return allocation


@dataclass(frozen=True)
class Stages:
    """A recipe that only lists others, in the order in which they are followed."""

    stages: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise RecipeError("stages must name at least one recipe")


def load_recipe(path: Path) -> Recipe:
    """Read a recipe of one stage; raises RecipeError naming the file, the key and what is wrong with it."""
    table = read_toml(path, RecipeError)
    if "stages" in table:
        raise RecipeError(f"{path}: nested stages are not possible: a recipe with 'stages' cannot be a stage itself")
    return table_from(table, Recipe, str(path), RecipeError)


def recipe_stages(path: Path) -> list[Path]:
    """The stages that a recipe lists under `stages`, in order; a recipe without them is its own only stage."""
    table = read_toml(path, RecipeError)
    if "stages" not in table:
        return [path]
    listed = table_from(table, Stages, str(path), RecipeError)
    return [path.parent / stage for stage in listed.stages]
