"""A training recipe: one TOML file, read into frozen dataclasses; an unknown key is an error that names it."""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from onebit_model.config import ModelConfig
from onebit_model.data.augmentation import AugmentConfig
from onebit_model.errors import ModelFileError, RecipeError

T = TypeVar("T")

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
    loader_threads: int = 0  # that prepare batches ahead, in each process; 0 = none: right where the CPU trains


@dataclass(frozen=True)
class CacheVersion:
    """One draw of the augmentation over the whole training set, at one chunk size (0 = segment)."""

    chunk: int = 0
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class CacheConfig:
    """Train from stored outputs of the first `after_block` blocks instead of from audio."""

    after_block: int
    versions: tuple[CacheVersion, ...]


@dataclass(frozen=True)
class OptimizerConfig:
    steps: int
    batch_seconds: float = 90.0
    learning_rate: float = 2e-4
    new_learning_rate: float = 1e-3
    new: tuple[str, ...] = ("head", "ff1", "convolution")  # parts of parameter names at the higher rate
    scale_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_start: float = 0.0  # share of the steps after which the rate falls linearly to zero
    clip_norm: float = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise RecipeError(f"accumulate must be 1 or more, not {self.accumulate}")


@dataclass(frozen=True)
class FeatureMasking:
    """Augmentation of cached features: spans replaced by their mean, and noise relative to their spread."""

    masks: int = 2
    mask_frames: int = 15
    noise: float = 0.0


@dataclass(frozen=True)
class QuantizeConfig:
    """Co-training (arXiv 2505.21245, section 3); see `objectives` for what each switch does."""

    passes: str = "one"  # one | joint
    nested: bool = True
    ternary: bool = False  # 2 bit is the paper's -s, 0, s; without nested codes
    per_row: bool = True
    private_norms: bool = True
    learnable_scales: bool = True  # else they stay as fitted to the starting weights
    parts: tuple[str, ...] = EVERYTHING  # prefixes of the names of what is quantised (ablations)
    one_bit_share: float = 0.5
    stochastic_share: float = 0.1
    ramp: float = 0.25  # share of the steps over which W is blended into its quantised value
    activations_from: float = 0.75  # share of the steps after which activations are int8
    ctc_weight: float = 0.5
    distillation_weight: float = 1.0
    matching_weight: float = 0.0  # encoder output
    block_matching_weight: float = 0.0  # output of every block; needs teacher_input = "student"
    local_share: float = 0.0  # share of the steps in which each block learns alone; needs teacher_input = "student"
    # 1-bit gradients pass below this many times a row's mean; small: only to what may flip soon
    one_bit_clip: float = NESTED_ONE_BIT_CLIP
    precisions: tuple[int, ...] = (1, 2, 4)
    teacher: str = ""  # checkpoint of the full-precision model
    teacher_before: str = ""  # the one that `start` learned from: what the teacher has learned since is added to it
    teacher_input: str = "clean"  # clean: stored outputs of clean audio; student: run on the student's input

    def __post_init__(self) -> None:
        for name, allowed in (("passes", ("one", "joint")), ("teacher_input", ("clean", "student"))):
            if getattr(self, name) not in allowed:
                raise RecipeError(f"{name} must be {' or '.join(allowed)}, not {getattr(self, name)!r}")
        if self.passes == "joint" and (self.teacher or self.local_share):
            raise RecipeError('passes = "joint" teaches with its own higher precision: no teacher, no local_share')
        if self.passes == "one" and self.teacher_input == "clean" and (self.block_matching_weight or self.local_share):
            raise RecipeError('block_matching_weight and local_share need teacher_input = "student"')
        if self.nested and self.ternary:
            raise RecipeError("ternary 2 bit has codes of its own: nested = false")
        if not self.nested and self.one_bit_clip != NESTED_ONE_BIT_CLIP:
            raise RecipeError("one_bit_clip is of nested codes: leave it out where nested = false")


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
    start: str = ""  # "" = random, a .safetensors encoder of Whisper, a training checkpoint, or stage:NAME
    start_mean: tuple[str, ...] = ()  # checkpoints of one network: start from the mean of their weights
    trainable: tuple[str, ...] = EVERYTHING  # prefixes of parameter names
    chunks: tuple[int, ...] = (8, 16, 0)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    masking: FeatureMasking = field(default_factory=FeatureMasking)
    cache: CacheConfig | None = None
    quantize: QuantizeConfig | None = None
    intermediate_ctc: float = 0.0  # share of the loss that the middle block's CTC has; 0 = none
    checkpoint_minutes: float = 3.0
    evaluate_every: int = 0

    def __post_init__(self) -> None:
        if self.cache is not None and self.cache.after_block < self.model.average_after:
            raise RecipeError("cache: after_block must not be below the model's average_after")
        if self.quantize is not None and self.quantize.teacher and self.quantize.teacher_input == "clean":
            heard = [version.augment for version in self.cache.versions] if self.cache else [self.augment]
            if any(speed != 1 for augment in heard for speed in augment.speeds):
                raise RecipeError('a teacher of clean audio cannot follow other speeds: teacher_input = "student"')


def quantizer_options(config: QuantizeConfig) -> dict[str, Any]:
    """Arguments of `quantise` that belong to a recipe; they travel in the checkpoint."""
    scheme = "nested" if config.nested else "ternary" if config.ternary else "independent"
    options = {"per_row": config.per_row, "scheme": scheme, "private_norms": config.private_norms}
    # Without `parts` where everything is quantised: as in checkpoints of before there was a choice.
    return options if config.parts == EVERYTHING else options | {"parts": list(config.parts)}


def load_recipe(path: Path) -> Recipe:
    """Read a recipe of one stage; raises RecipeError naming the file, the key and what is wrong with it."""
    table = _read_table(path)
    if "stages" in table:
        raise RecipeError(f"{path}: nested stages are not possible: a recipe with 'stages' cannot be a stage itself")
    return _build(Recipe, table, str(path))


def recipe_stages(path: Path) -> list[Path]:
    """The stages that a recipe lists under `stages`, in order; a recipe without them is its own only stage."""
    table = _read_table(path)
    if "stages" not in table:
        return [path]
    stages = _convert(tuple[str, ...], table.pop("stages"), f"{path}: stages")
    if table:
        raise RecipeError(f"{path}: {sorted(table)[0]!r} beside stages; it belongs into one of the stages")
    if not stages:
        raise RecipeError(f"{path}: stages must name at least one recipe")
    return [path.parent / stage for stage in stages]


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise RecipeError(f"recipe {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {path}: not a text file in UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"recipe {path}: {error}") from error


def _build(kind: type[T], table: dict[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(hints)}")
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    if missing := [name for name in _required(kind) if name not in table]:
        raise RecipeError(f"{where}: missing: {', '.join(missing)}")
    try:
        return kind(**values)
    except (ModelFileError, RecipeError) as error:
        raise RecipeError(f"{where}: {error}") from error


def _required(kind: type[Any]) -> list[str]:
    """Fields without a default."""
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing]


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert(next(a for a in typing.get_args(hint) if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{where} must be a list, not {value!r}")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, element, where) for element in value)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise RecipeError(f"{where} must be a table, not {value!r}")
        return _build(typing.cast(type[Any], hint), value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint):
        raise RecipeError(f"{where} must be {hint.__name__}, not {value!r}")
    return value
