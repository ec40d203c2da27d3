"""The n-gram model that a beam search listens to: its file (docs/file-format.md), and what it needs to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onebit_kernels import LanguageModel
from onebit_model.errors import ModelFileError, OtherVocabularyError
from onebit_model.files.assets import SHIPPED_LANGUAGE_MODEL
from onebit_model.files.layout import TensorSpec
from onebit_model.files.tensor_file import FileKind, TensorFile, Tensors, read_tensor_file, write_tensor_file

KIND = FileKind("onebit language model", 1)
TENSORS = {"tokens": "<u2", "log_probabilities": "u1", "backoffs": "u1", "children": "<u2"}
NONE = "none"


@dataclass(frozen=True)
class LanguageModelDescription:
    """`weight` of the log-probabilities and `token_bonus` for every token; `training` says what it was made of."""

    vocabulary_sha256: str
    weight: float
    token_bonus: float
    training: Mapping[str, object] = field(default_factory=dict)


def vocabulary_sha256(vocabulary: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()


def write_language_model(path: str | Path, description: LanguageModelDescription, tensors: Tensors) -> None:
    metadata = {
        "vocabulary_sha256": description.vocabulary_sha256,
        "weight": json.dumps(description.weight),
        "token_bonus": json.dumps(description.token_bonus),
        "training": json.dumps(description.training, sort_keys=True),
    }
    arrays = {name: np.ascontiguousarray(tensors[name], dtype) for name, dtype in TENSORS.items()}
    write_tensor_file(Path(path), KIND, metadata, arrays)


def load_language_model(
    path: str | Path, vocabulary: Sequence[str], weight: float | None = None, token_bonus: float | None = None
) -> LanguageModel:
    """For a model of this vocabulary; `weight` and `token_bonus` default to the file's. Raises ModelFileError."""
    path = Path(path)
    file = _read(path)
    description = file.description
    if description.vocabulary_sha256 != vocabulary_sha256(vocabulary):
        raise OtherVocabularyError(f"{path}: this language model was made for another vocabulary than the model's")
    arrays: dict[str, Any] = {name: np.ascontiguousarray(tensor) for name, tensor in file.tensors.items()}
    try:
        return LanguageModel(
            **arrays,
            outputs=len(vocabulary) + 1,
            weight=description.weight if weight is None else weight,
            token_bonus=description.token_bonus if token_bonus is None else token_bonus,
        )
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from error


def chosen_language_model(chosen: str | Path | None, vocabulary: Sequence[str]) -> LanguageModel | None:
    """A file's, "none", or where nothing is chosen the shipped one, if it is of this vocabulary."""
    if chosen is not None and str(chosen) == NONE:
        return None
    if chosen:
        return load_language_model(chosen, vocabulary)
    try:
        return load_language_model(SHIPPED_LANGUAGE_MODEL, vocabulary)
    except OtherVocabularyError:
        return None


def _read(path: Path) -> TensorFile[LanguageModelDescription]:
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no language model here")
    return read_tensor_file(path, KIND, _describe, _check)


def _describe(metadata: dict[str, str]) -> LanguageModelDescription:
    return LanguageModelDescription(
        metadata["vocabulary_sha256"],
        float(json.loads(metadata["weight"])),
        float(json.loads(metadata["token_bonus"])),
        json.loads(metadata["training"]),
    )


def _check(_: LanguageModelDescription, tensors: Tensors) -> None:
    for name in sorted(TENSORS.keys() | tensors.keys()):
        if name not in tensors or name not in TENSORS:
            problem = "is missing" if name in TENSORS else "does not belong to a language model"
            raise ModelFileError(f"the tensor {name} {problem}")
        found = TensorSpec(tensors[name].dtype, tensors[name].shape)
        dtype = np.dtype(TENSORS[name])
        if found.dtype != dtype or len(found.shape) != 1:
            raise ModelFileError(f"the tensor {name} is {found.dtype} {list(found.shape)}, not a row of {dtype}")
