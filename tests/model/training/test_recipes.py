"""The recipes as shipped, followed on miniatures of the corpora in their published layouts."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onebit_model.network.checkpoint import load_checkpoint
from onebit_model.training.loop import train
from onebit_model.training.recipe import load_recipe, recipe_stages

RECIPES = Path(__file__).parents[3] / "model" / "recipes"
# Sizes shrink, everything else stays as it is written.
MINIATURE = {
    "blocks": "6\nd_model = 32\nheads = 2\nfeed_forward1 = 32\nfeed_forward2 = 48",
    "vocabulary_size": "40",
    "decoder_blocks": "2",
    "decoder_feed_forward": "32",
    "decoder_vocabulary_size": "272",
    "decoder_positions": "64",
    "steps": "2",
    "batch_seconds": "8.0",
    "evaluate_every": "2",
    "stride": "1",
}
TEXTS = ("the quick brown fox jumps over", "a lazy dog and forty two wizards", "pack my box with five dozen jugs")


def speech(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((round(seconds * rate), channels))).astype(np.float32)


def write_librispeech(data: Path) -> None:
    subsets = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other")
    for speaker, subset in enumerate(subsets):
        chapter = data / "LibriSpeech" / subset / str(speaker) / "7"
        chapter.mkdir(parents=True)
        names = [f"{speaker}-7-{index:04}" for index in range(len(TEXTS))]
        for name in names:
            soundfile.write(chapter / f"{name}.flac", speech(4.0, 16_000), 16_000)
        lines = [f"{name} {text.upper()}\n" for name, text in zip(names, TEXTS, strict=True)]
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))


def write_switchboard(data: Path) -> None:
    train_folder, dev = data / "switchboard" / "train", data / "switchboard" / "hub5e_00"
    for folder, name in ((train_folder / "swb1_d1", "sw02001"), (dev / "english", "sw_4390")):
        folder.mkdir(parents=True)
        soundfile.write(folder / f"{name}.sph", speech(16.0, 8000, 2), 8000, format="NIST", subtype="ULAW")
    transcripts = train_folder / "swb_ms98_transcriptions" / "20" / "2001"
    transcripts.mkdir(parents=True)
    for channel in "AB":
        lines = [
            f"sw2001{channel}-ms98-a-{index:04} {4 * index}.0 {4 * index + 3.5} [laughter] {text}\n"
            for index, text in enumerate(TEXTS)
        ]
        (transcripts / f"sw2001{channel}-ms98-a-trans.text").write_text("".join(lines))
    (dev / "reference.stm").write_text(f"sw_4390 A sw_4390_A 0.5 4.0 <O,en,F,en-F> {TEXTS[0]} (%HESITATION)\n")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("librispeech-960", write_librispeech),
        ("librispeech-100", write_librispeech),
        ("switchboard-300", write_switchboard),
    ],
)
def test_a_corpus_recipe_trains_and_cotrains(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    recipes = tmp_path / "model" / "recipes"
    shutil.copytree(RECIPES, recipes)
    for stage in recipe_stages(recipes / f"{name}.toml"):
        text = stage.read_text()
        for key, value in MINIATURE.items():
            text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        stage.write_text(text)
    write(tmp_path / "data")
    loop = train(recipes / f"{name}.toml", tmp_path / "runs")
    trained = load_checkpoint(tmp_path / "runs" / "cotraining" / "weights.pt")
    assert (trained.step, trained.quantize is not None) == (2, True)
    assert {"wer_4bit", "wer_1bit"} <= loop.evaluate().keys()


def test_every_recipe_can_be_read() -> None:
    listed = [stage for recipe in RECIPES.glob("*.toml") for stage in recipe_stages(recipe)]
    assert {recipe.resolve() for recipe in RECIPES.rglob("*/*.toml")} <= {stage.resolve() for stage in listed}
    for stage in listed:
        assert load_recipe(stage).name == stage.stem  # by which a later stage finds its result
