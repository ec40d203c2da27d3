"""Training on a miniature corpus: it learns, resumes to the step after a kill, and co-trains every precision."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from onebit_model.bench import ablation
from onebit_model.errors import OnebitError, RecipeError
from onebit_model.network.checkpoint import load_checkpoint
from onebit_model.network.quantizers import quantised_layers
from onebit_model.text.tokenizer import train_tokenizer
from onebit_model.training.recipe import load_recipe
from onebit_model.training.trainer import Trainer, train

WORDS = {"low": 300.0, "mid": 700.0, "high": 1500.0}

RECIPE = """
name = "miniature"
chunks = [8, 0]
checkpoint_minutes = 0.01

[model]
d_model = 32
heads = 2
blocks = 2
feed_forward1 = 32
feed_forward2 = 48
average_after = 1
vocabulary_size = 14

[[data.train]]
path = "clips.jsonl"

[[data.dev]]
path = "clips.jsonl"

[augment]
noise_probability = 0.0
time_masks = 1

[optimizer]
steps = {steps}
batch_seconds = 6.0
learning_rate = 3e-3
new_learning_rate = 3e-3
warmup_steps = 4
"""


TRAIN_IN_ONE_THREAD = """
import sys, torch
from pathlib import Path
from onebit_model.training.trainer import train
torch.set_num_threads(1)
train(Path(sys.argv[1]), Path(sys.argv[2]))
"""

CACHED = """
trainable = ["blocks.1.", "final_norm", "head"]
---
[cache]
after_block = 1
[[cache.versions]]
chunk = 8
[[cache.versions]]
seed = 1
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order: two runs of a step give the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones that spell words: 24 clips of one to three of them."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(24):
        words = rng.choice(list(WORDS), size=1 + index % 3)
        pieces = [0.3 * np.sin(2 * np.pi * WORDS[w] * np.arange(8000) / 16_000) for w in words]
        samples = np.concatenate([np.pad(p, 1600) for p in pieces])
        soundfile.write(folder / f"{index}.wav", samples, 16_000)
        row = {"id": str(index), "audio": f"{index}.wav", "text": " ".join(words), "duration": len(samples) / 16_000}
        rows.append(json.dumps(row))
    (folder / "clips.jsonl").write_text("\n".join(rows))
    return folder


def write_recipe(corpus: Path, name: str, steps: int, extra: str = "") -> Path:
    path = corpus / f"{name}.toml"
    top, _, tables = RECIPE.format(steps=steps).partition("\n[model]")
    path.write_text(f"{top}\n{extra.partition('---')[0]}\n[model]{tables}\n{extra.partition('---')[2]}")
    return path


def losses(output: Path) -> dict[int, str]:
    return {int(row[0]): row[2] for row in read_log(output) if row[1].startswith("ctc")}


def read_log(output: Path) -> list[list[str]]:
    return list(csv.reader((output / "log.csv").read_text().splitlines()))


def test_training_learns_and_resumes_to_the_step(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "resume", 30)
    whole = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "parts", stop_at=13)
    parts = train(recipe, tmp_path / "parts")
    expected = losses(tmp_path / "whole")
    assert losses(tmp_path / "parts") == expected
    assert float(expected[30]) < 0.7 * float(expected[1])
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, parts.network.state_dict()[name]), name


def test_a_killed_training_continues(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "killed", 60)
    train(recipe, tmp_path / "whole")
    output = tmp_path / "killed"
    command = [sys.executable, "-c", TRAIN_IN_ONE_THREAD, str(recipe), str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (output / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < load_checkpoint(output / "state.pt").step < 60
    train(recipe, output)
    assert losses(output) == losses(tmp_path / "whole")


UPPER_BLOCK = """
trainable = ["blocks.1."]
---
[cache]
after_block = 1
[[cache.versions]]
chunk = 0
"""


def test_ablation_trains_every_row_and_keeps_what_is_done(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "ablation", 2, UPPER_BLOCK)
    table = list(ablation.table(recipe, tmp_path, 1))[-7:]
    filled = ["".join("x" if cell.strip() else "." for cell in line.split("|")[4:-2]) for line in table]
    assert filled == ["x...", "...x", "...x", ".xxx", ".xxx", ".xxx", ".xxx"]
    folders = [next(tmp_path.glob(f"{row}-seed1-*")) for row in range(7)]
    naive, scaled = (load_checkpoint(folders[row] / "state.pt").network for row in (1, 2))
    below, above = "blocks.0.ff2.up.log_scale1", "blocks.1.ff2.up.log_scale1"
    assert below not in naive  # only what is trained is quantised
    assert not torch.equal(naive[above], scaled[above])
    trained = (folders[6] / "log.csv").stat().st_mtime_ns
    assert list(ablation.table(recipe, tmp_path, 1))[-7:] == table
    assert (folders[6] / "log.csv").stat().st_mtime_ns == trained
    recipe.write_text(recipe.read_text().replace("steps = 2", "steps = 1"))
    list(ablation.table(recipe, tmp_path, 1))  # another recipe: nothing of the old rows is taken for its own
    assert len(list(tmp_path.glob("*-seed1-*"))) == 14


def test_a_stage_starts_from_the_mean_of_two(corpus: Path, tmp_path: Path) -> None:
    for name, steps in (("first", 2), ("second", 4)):
        train(write_recipe(corpus, name, steps), tmp_path / name)
    recipe = write_recipe(corpus, "mean", 2, 'start_mean = ["stage:first", "stage:second"]\n---\n')
    started = Trainer(load_recipe(recipe), corpus, tmp_path / "mean", tmp_path / "caches").network.state_dict()
    first, second = (load_checkpoint(tmp_path / name / "weights.pt").network for name in ("first", "second"))
    torch.testing.assert_close(started["head.weight"], (first["head.weight"] + second["head.weight"]) / 2)
    recipe.write_text(f'start = "stage:first"\n{recipe.read_text()}')
    with pytest.raises(RecipeError, match="start_mean"):
        train(recipe, tmp_path / "both")


def torchrun(processes: int, recipe: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["--no-python", str(Path(sys.executable).with_name("onebit")), "train", str(recipe)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command += ["--output", str(output)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=environment)


COTRAINED_IN_PARTS = """
evaluate_every = 3
---
[quantize]
teacher = "stage:control"
activations_from = 0.0
"""


def test_the_middle_block_learns_with_the_same_head(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "middle", 20, "intermediate_ctc = 0.5\n---\n")
    recipe.write_text(recipe.read_text().replace("blocks = 2", "blocks = 4"))
    train(recipe, tmp_path / "middle")
    middle = [float(row[2]) for row in read_log(tmp_path / "middle") if row[1] == "ctc_middle"]
    assert middle[-1] < 0.7 * middle[0]
    too_low = recipe.with_name("too-low.toml")
    too_low.write_text(recipe.read_text().replace("average_after = 1", "average_after = 2"))
    with pytest.raises(RecipeError, match="intermediate_ctc"):
        train(too_low, tmp_path / "too-low")


def test_loader_threads_change_no_batch(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "threads", 6)
    train(recipe, tmp_path / "none")
    recipe.write_text(recipe.read_text() + "\n[data]\nloader_threads = 3\n")
    train(recipe, tmp_path / "three")
    assert losses(tmp_path / "three") == losses(tmp_path / "none")


def test_a_student_catches_up_with_its_teacher(corpus: Path, tmp_path: Path) -> None:
    train(write_recipe(corpus, "before", 2), tmp_path / "before")
    train(write_recipe(corpus, "after", 4, 'start = "stage:before"\n---\n'), tmp_path / "after")
    first = '[quantize]\nteacher = "stage:before"\n'
    train(write_recipe(corpus, "student", 2, f'start = "stage:before"\n---\n{first}'), tmp_path / "student")
    then = '[quantize]\nteacher = "stage:after"\nteacher_before = "stage:before"\n'
    recipe = load_recipe(write_recipe(corpus, "then", 2, f'start = "stage:student"\n---\n{then}'))
    follower = Trainer(recipe, corpus, tmp_path / "then", tmp_path / "caches").network.state_dict()
    before, after, student = (
        load_checkpoint(tmp_path / n / "weights.pt").network for n in ("before", "after", "student")
    )
    weight = "blocks.0.ff2.up.weight"
    assert not torch.equal(after[weight], before[weight])
    torch.testing.assert_close(follower[weight], student[weight] + after[weight] - before[weight])
    norm = "blocks.0.ff2.norm.bias"
    torch.testing.assert_close(follower[norm + "2"], student[norm + "2"] + after[norm] - before[norm])
    scale = "blocks.0.ff2.up.log_scale1"
    assert torch.equal(follower[scale], student[scale])


def test_two_processes_take_the_steps_of_one(corpus: Path, tmp_path: Path) -> None:
    train(write_recipe(corpus, "control", 2), tmp_path / "control")
    recipe = write_recipe(corpus, "parts", 6, COTRAINED_IN_PARTS)
    recipe.write_text(recipe.read_text().replace("batch_seconds = 6.0", "batch_seconds = 3.0\naccumulate = 4"))
    alone = train(recipe, tmp_path / "alone")
    run = torchrun(2, recipe, tmp_path / "together")
    assert run.returncode == 0, run.stderr
    together = load_checkpoint(tmp_path / "together" / "state.pt").network
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4, msg=name)
    logged = {name for _, name, *_ in read_log(tmp_path / "together")}
    assert {"gradient", "wer_4bit", "wer_1bit"} <= logged


def test_batches_that_the_processes_cannot_share(corpus: Path, tmp_path: Path) -> None:
    run = torchrun(2, write_recipe(corpus, "uneven", 2), tmp_path / "uneven")
    assert run.returncode != 0
    assert "optimizer.accumulate is 1" in run.stderr
    assert "Traceback" not in run.stderr.partition("optimizer.accumulate")[0]


def test_cached_stage_then_cotraining(corpus: Path, tmp_path: Path) -> None:
    cached = write_recipe(corpus, "cached", 8, CACHED)
    first = train(cached, tmp_path / "cached", tmp_path / "caches")
    assert len(list((tmp_path / "caches").glob("*/rows.f16"))) == 2
    frozen = dict(first.network.named_parameters())["blocks.0.ff1.up.weight"]
    assert not frozen.requires_grad
    weights = tmp_path / "cached" / "weights.pt"
    quantised = write_recipe(
        corpus,
        "quantised",
        12,
        f'start = "{weights}"\n---\n[quantize]\nteacher = "{weights}"\nmatching_weight = 0.1\nactivations_from = 0.5\n',
    )
    trainer = train(quantised, tmp_path / "quantised", tmp_path / "caches")
    names = {row[1] for row in read_log(tmp_path / "quantised")}
    assert {"ctc_1bit", "kl_1bit", "match_1bit"} <= names
    assert {"wer_1bit", "wer_2bit", "wer_4bit"} <= set(trainer.evaluate())
    stored = load_checkpoint(tmp_path / "quantised" / "weights.pt")
    assert stored.quantize == {"per_row": True, "scheme": "nested", "private_norms": True}


def test_a_live_teacher_sees_the_students_input(corpus: Path, tmp_path: Path) -> None:
    start = train(write_recipe(corpus, "teacher", 4), tmp_path / "teacher")
    weights = tmp_path / "teacher" / "weights.pt"
    extra = (
        f'start = "{weights}"\n---\n[quantize]\nteacher = "{weights}"\nteacher_input = "student"\n'
        "one_bit_share = 0.0\nprecisions = [4]\nblock_matching_weight = 1.0\nramp = 1.0\n"
    )
    recipe = write_recipe(corpus, "live", 1, extra)
    recipe.write_text(recipe.read_text().replace("chunks = [8, 0]", "chunks = [0]"))
    train(recipe, tmp_path / "live")
    first = {row[1]: float(row[2]) for row in read_log(tmp_path / "live")}
    # The blend begins at the latent weights: teacher and student agree up to float16 and private rounding.
    assert first["kl_4bit"] < 1e-3
    assert first["blocks_4bit"] < 1e-3
    assert start.step == 4


def test_blocks_learn_alone_at_first(corpus: Path, tmp_path: Path) -> None:
    start = train(write_recipe(corpus, "teacher", 4), tmp_path / "teacher")
    weights = tmp_path / "teacher" / "weights.pt"
    options = (
        f'start = "{weights}"\n---\n[quantize]\nteacher = "{weights}"\nteacher_input = "student"\n'
        "local_share = 0.8\nprecisions = [1]\nblock_matching_weight = 1.0\nramp = 0.0\n"
    )
    train(write_recipe(corpus, "alone", 40, options), tmp_path / "alone")
    rows = read_log(tmp_path / "alone")
    for name in ("block1_1bit", "block2_1bit"):
        steps, distances = zip(*((int(r[0]), float(r[2])) for r in rows if r[1] == name), strict=True)
        assert steps == tuple(range(1, 33))
        assert sum(distances[-5:]) < 0.8 * sum(distances[:5])
    assert {int(row[0]) for row in rows if row[1] == "blocks_1bit"} == set(range(33, 41))
    assert start.step == 4


def test_stages_follow_each_other(corpus: Path, tmp_path: Path) -> None:
    write_recipe(corpus, "first", 2)
    write_recipe(corpus, "second", 3, 'start = "stage:first"\n')
    (corpus / "both.toml").write_text('stages = ["first.toml", "second.toml"]')
    trainer = train(corpus / "both.toml", tmp_path)
    assert trainer.step == 3
    assert load_checkpoint(tmp_path / "first" / "weights.pt").step == 2
    assert load_checkpoint(tmp_path / "second" / "weights.pt").recipe == "miniature"
    (tmp_path / "first" / "state.pt").unlink()
    train(corpus / "both.toml", tmp_path)
    assert not (tmp_path / "first" / "state.pt").exists()  # its weights were enough


def test_joint_passes_log_every_precision(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "joint", 6, '---\n[quantize]\npasses = "joint"\nstochastic_share = 1.0\n')
    train(recipe, tmp_path)
    names = {row[1] for row in read_log(tmp_path)}
    assert {"ctc_high", "ctc_1bit", "ctc_mixed", "kl_1bit", "kl_mixed"} <= names


def test_two_bit_may_be_the_papers_ternary(corpus: Path, tmp_path: Path) -> None:
    switches = 'passes = "joint"\nnested = false\nternary = true\nper_row = false\n'
    trainer = train(write_recipe(corpus, "ternary", 2, f"---\n[quantize]\n{switches}"), tmp_path)
    assert trainer.precision is not None
    trainer.precision.bits, trainer.precision.ramp = 2, 1.0
    layer = next(iter(quantised_layers(trainer.network).values()))
    scale = layer.scale(2).item()
    assert layer.quantised_weight(2).unique().tolist() == pytest.approx([-scale, 0, scale])
    assert load_checkpoint(tmp_path / "weights.pt").quantize == {
        "per_row": False,
        "scheme": "ternary",
        "private_norms": True,
    }
    with pytest.raises(RecipeError, match="nested = false"):
        load_recipe(write_recipe(corpus, "both", 2, "---\n[quantize]\nternary = true\n"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name = 1\n[optimizer]\nsteps = 1\n[[data.train]]\npath = 'x'\n", "name"),
        ("name = 'x'\nstepz = 3\n", "stepz"),
        ("name = 'x'\n", "optimizer"),
        ("name = 'x'\n[optimizer]\nsteps = 'many'\n", "steps"),
        ("name = ", "recipe"),
        ("name = 'x'\n[data]\n", "bad.toml: data: missing: train$"),
        ("optimizer = {}\n", "bad.toml: optimizer: missing: steps$"),
        ("seed = 1\n", "bad.toml: missing: name, data, optimizer$"),
        ("[[data.train]]\npath = 'x'\nstride = 0\n", "data: train: stride must be 1 or more, not 0"),
        ("[optimizer]\nsteps = 1\naccumulate = 0\n", "optimizer: accumulate must be 1 or more"),
        ("[model]\nheads = 0\n", "bad.toml: model: .*heads must be"),
        ("stages = ['other.toml']\n", "nested stages are not possible"),
    ],
)
def test_a_bad_recipe_names_the_key(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(RecipeError, match=named):
        load_recipe(tmp_path / "bad.toml")


def test_a_recipe_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"bad\.toml: not a text file"):
        load_recipe(tmp_path / "bad.toml")
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read: No such file"):
        load_recipe(tmp_path / "none.toml")


def test_a_mistake_in_a_later_stage_is_found_before_the_first_one_runs(corpus: Path, tmp_path: Path) -> None:
    write_recipe(corpus, "first", 2)
    (corpus / "inner.toml").write_text('stages = ["first.toml"]')
    (corpus / "outer.toml").write_text('stages = ["first.toml", "inner.toml"]')
    with pytest.raises(RecipeError, match=r"inner\.toml: nested stages are not possible"):
        train(corpus / "outer.toml", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    (corpus / "outer.toml").write_text("stages = []")
    with pytest.raises(RecipeError, match="at least one recipe"):
        train(corpus / "outer.toml", tmp_path / "runs")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("vocabulary_size = 14", "vocabulary_size = 200"), "vocabulary_size 200 .* no more than [0-9]+ pieces"),
        (("vocabulary_size = 14", "vocabulary_size = 3"), "vocabulary_size 3 .* characters alone are [0-9]+ pieces"),
        (
            ('path = "clips.jsonl"', 'path = "clips.jsonl"\ncorpora = ["none"]'),
            "data.train holds no labelled",
        ),
        (('path = "clips.jsonl"', 'path = "gone.jsonl"'), "corpus not found: .*gone"),
        (("chunks = [8, 0]", 'chunks = [8, 0]\nstart = "clips.jsonl"'), "clips.jsonl: not a training checkpoint"),
        (("chunks = [8, 0]", 'chunks = [8, 0]\nstart = "no.safetensors"'), "no.safetensors: not a Whisper encoder"),
    ],
)
def test_what_cannot_be_trained_is_said(corpus: Path, tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    recipe = write_recipe(corpus, "wrong", 2)
    recipe.write_text(recipe.read_text().replace(*change, 1))
    with pytest.raises(OnebitError, match=complaint):
        train(recipe, tmp_path)


def test_a_vocabulary_of_no_texts_is_refused() -> None:
    with pytest.raises(RecipeError, match="they are empty"):
        train_tokenizer([], 20)


def test_a_label_that_the_start_cannot_write_and_a_state_of_another_network_are_named(
    corpus: Path, tmp_path: Path
) -> None:
    train(write_recipe(corpus, "before", 1), tmp_path / "before")
    labels = (corpus / "clips.jsonl").read_text().replace('"text": "', '"text": "7 ', 1)
    (corpus / "digits.jsonl").write_text(labels)
    start = f'start = "{tmp_path / "before" / "weights.pt"}"\n'
    recipe = write_recipe(corpus, "digits", 2, start)
    recipe.write_text(recipe.read_text().replace("clips.jsonl", "digits.jsonl", 1))
    with pytest.raises(RecipeError, match="digits: utterance 0: .*outside the vocabulary: '7 "):
        train(recipe, tmp_path / "after")
    recipe = write_recipe(corpus, "larger", 2)
    recipe.write_text(recipe.read_text().replace("blocks = 2", "blocks = 3"))
    with pytest.raises(RecipeError, match=r"state\.pt is the state of another network"):
        train(recipe, tmp_path / "before")
