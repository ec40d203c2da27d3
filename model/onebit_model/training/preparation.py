"""What is made once before the control is trained: written labels and soft labels, both by Whisper as it is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from onebit_model.errors import RecipeError
from onebit_model.training.processes import join
from onebit_model.training.recipe import load_recipe
from onebit_model.training.soft_labels import write_soft_labels
from onebit_model.training.stage import Paths, Stage, build_stage
from onebit_model.training.training_set import AS_LABELLED
from onebit_model.training.transcripts import transcripts, write_written_labels


def make_written_labels(recipe_path: Path, output: Path) -> int:
    """Writes the file that the recipe calls data.written; returns how many clips it spells."""
    stage, paths = _whisper(recipe_path, output, {"written": "", "soft_labels": ""})
    recipe = load_recipe(recipe_path)
    if recipe.data.written in ("", AS_LABELLED):
        raise RecipeError(f"{recipe_path}: data.written names no file to write")
    utterances, targets = stage.training_set.utterances, stage.training_set.targets
    chosen = [index for index, target in enumerate(targets) if target.pieces is None]
    assert stage.encoder is not None
    texts = transcripts(stage.network, stage.encoder, stage.source.clips, utterances, chosen)
    write_written_labels(paths(recipe.data.written), utterances, chosen, texts)
    return len(chosen)


def make_soft_labels(recipe_path: Path, output: Path) -> int:
    """Writes the file that the recipe calls data.soft_labels; returns how many clips it has."""
    stage, paths = _whisper(recipe_path, output, {"soft_labels": ""})
    recipe = load_recipe(recipe_path)
    if not recipe.data.soft_labels:
        raise RecipeError(f"{recipe_path}: data.soft_labels names no file to write")
    path = paths(recipe.data.soft_labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    utterances, targets = stage.training_set.utterances, stage.training_set.targets
    write_soft_labels(path, stage.network, stage.source.clips, utterances, targets)
    return sum(bool(target.pieces) for target in targets)


def _whisper(recipe_path: Path, output: Path, without: dict[str, Any]) -> tuple[Stage, Paths]:
    """The recipe's stage, which has to start from Whisper as it was loaded, without what is still to be made."""
    recipe = load_recipe(recipe_path)
    if not recipe.model.has_decoder or not recipe.start:
        raise RecipeError(f"{recipe_path}: labels are made by the network that it starts from: name one with a decoder")
    paths = Paths(recipe_path.resolve().parent, output)
    stage = build_stage(replace(recipe, data=replace(recipe.data, **without)), paths, join().device)
    stage.network.eval()
    return stage, paths
