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

from onebit_model.bench import ablation, sensitivity
from onebit_model.errors import OnebitError, RecipeError
from onebit_model.network.assembly import network_from_checkpoint
from onebit_model.network.checkpoint import load_checkpoint
from onebit_model.network.quantizers import quantised_layers
from onebit_model.text.pieces import END, FIRST_BYTE
from onebit_model.text.tokenizer import train_tokenizer
from onebit_model.training.loop import Loop, train
from onebit_model.training.losses import ctc_loss
from onebit_model.training.objectives import growing_layers
from onebit_model.training.outputs import Batch, OwnPieces, run
from onebit_model.training.recipe import QuantizeSchedule, load_recipe
from onebit_model.training.stage import Paths, build_stage
from onebit_model.training.targets import item_targets, piece_targets
from onebit_model.training.whisper_teacher import WhisperTeacher

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
decoder_blocks = 1
decoder_feed_forward = 32
decoder_vocabulary_size = 272
decoder_positions = 64

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
from onebit_model.training.loop import train
torch.set_num_threads(1)
train(Path(sys.argv[1]), Path(sys.argv[2]))
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
        row["raw"] = row["text"].capitalize() + "."
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


UPPER_BLOCK = 'trainable = ["blocks.1."]\n---\n'


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
    stage = build_stage(load_recipe(recipe), Paths(corpus, tmp_path / "mean"), torch.device("cpu"))
    started = stage.network.state_dict()
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
[quantize.schedule]
activations_from = 0.0
"""


def test_the_middle_block_learns_with_the_same_head(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "middle", 20, "---\n[objective]\nintermediate_ctc = 0.5\n")
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


def test_a_low_bit_student_learns_from_its_teacher(corpus: Path, tmp_path: Path) -> None:
    train(write_recipe(corpus, "teacher", 8), tmp_path / "teacher")
    weights = tmp_path / "teacher" / "weights.pt"
    (corpus / "allocation.json").write_text(json.dumps({"planes": {"1": {"blocks.0.ff2.up": 2}}}))
    switches = (
        f'start = "{weights}"\n---\n[quantize]\nteacher = "{weights}"\nallocation = "allocation.json"\n'
        "[quantize.schedule]\ngrow = 0.5\nactivations_from = 0.5\n[quantize.losses]\nblocks = 0.5\n"
    )
    loop = train(write_recipe(corpus, "student", 12, switches), tmp_path / "student")
    names = {row[1] for row in read_log(tmp_path / "student")}
    assert {"ctc_1bit", "pieces_1bit", "ctc_kl_1bit", "kl_1bit", "blocks_1bit"} <= names
    assert {"wer_1bit", "wer_2bit", "wer_4bit", "ctc_wer_4bit"} <= set(loop.evaluate())
    layers = quantised_layers(loop.network)
    assert layers["blocks.0.ff2.up"].planes == {1: 2, 2: 2, 4: 4}
    assert layers["decoder.blocks.0.feed_forward.up"].planes == {1: 1, 2: 2, 4: 4}
    assert load_checkpoint(tmp_path / "student" / "weights.pt").quantize == {
        "per_row": True,
        "scheme": "nested",
        "private_norms": True,
        "allocation": {"1": {"blocks.0.ff2.up": 2}},
    }


def test_the_teacher_hears_what_the_student_hears(corpus: Path, tmp_path: Path) -> None:
    train(write_recipe(corpus, "teacher", 4), tmp_path / "teacher")
    weights = tmp_path / "teacher" / "weights.pt"
    extra = (
        f'start = "{weights}"\n---\n[quantize]\nteacher = "{weights}"\n[quantize.schedule]\n'
        "precisions = [4]\nshares = [1.0]\nstochastic_share = 0.0\nramp = 1.0\n[quantize.losses]\nblocks = 1.0\n"
    )
    recipe = write_recipe(corpus, "live", 1, extra)
    recipe.write_text(recipe.read_text().replace("chunks = [8, 0]", "chunks = [0]"))
    train(recipe, tmp_path / "live")
    first = {row[1]: float(row[2]) for row in read_log(tmp_path / "live")}
    # The blend begins at the latent weights: teacher and student agree up to float16 and private rounding.
    for name in ("kl_4bit", "ctc_kl_4bit", "blocks_4bit"):
        assert first[name] < 1e-3, name


def weights_of(folder: Path, bits: int) -> dict[str, torch.Tensor]:
    """What a precision of a stage's result computes with: quantised matrices, norms, and all that precisions share."""
    network, precision = network_from_checkpoint(load_checkpoint(folder / "weights.pt"))
    assert precision is not None
    low_bit = quantised_layers(network)
    latent = {f"{name}.weight" for name in [*low_bit, "decoder.embedding"]}
    private = tuple("124".replace(str(bits), ""))
    others = {n: value for n, value in network.state_dict().items() if n not in latent and not n.endswith(private)}
    return others | {name: layer.quantised_weight(layer.planes[bits]).detach() for name, layer in low_bit.items()}


def test_four_bit_learns_alone_and_leaves_the_others_what_they_are(corpus: Path, tmp_path: Path) -> None:
    """Its stage starts from codes that error feedback has rounded."""
    train(write_recipe(corpus, "all", 2, "---\n[quantize]\nerror_feedback = true\n"), tmp_path / "all")
    start = f'start = "{tmp_path / "all" / "weights.pt"}"\n---\n'
    alone = (
        "[quantize]\nlearns_alone = 4\n[quantize.schedule]\nprecisions = [4]\nshares = [1.0]\nstochastic_share = 0.0\n"
    )
    train(write_recipe(corpus, "alone", 8, start + alone), tmp_path / "alone")
    for bits in (1, 2):
        before, after = weights_of(tmp_path / "all", bits), weights_of(tmp_path / "alone", bits)
        assert before.keys() == after.keys()
        for name, value in before.items():
            torch.testing.assert_close(after[name], value, rtol=0, atol=0, msg=name)
    before, after = weights_of(tmp_path / "all", 4), weights_of(tmp_path / "alone", 4)
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert {"blocks.0.ff2.up", "decoder.blocks.0.feed_forward.down", "blocks.0.ff2.norm.weight4"} <= set(moved)


def test_low_bits_come_layer_by_layer(corpus: Path, tmp_path: Path) -> None:
    loop = train(write_recipe(corpus, "growing", 1, "---\n[quantize]\n"), tmp_path)
    schedule = QuantizeSchedule(grow=0.5, first_share=0.25, one_bit_grow=1.0)
    rng = np.random.default_rng(0)
    layers = len(quantised_layers(loop.network))
    expected = {2: [0.75, 0.375, 0.0, 0.0], 1: [0.75, 0.5625, 0.375, 0.0]}
    for bits, shares in expected.items():
        kept = [
            np.mean([len(growing_layers(loop.network, schedule, bits, progress, rng)) for _ in range(200)]) / layers
            for progress in (0.0, 0.25, 0.5, 1.0)
        ]
        assert kept == pytest.approx(shares, abs=0.03)


def test_rows_whose_pieces_never_come_stay(corpus: Path, tmp_path: Path) -> None:
    """Where the embedding moves as far as its gradient says; Adam takes all rows as far."""
    moved = {}
    for name, extra in (("adam", ""), ("proportional", 'proportional = ["embedding"]\nproportional_rate = 1.0\n')):
        recipe = write_recipe(corpus, name, 4)
        recipe.write_text(
            recipe.read_text().replace("warmup_steps = 4\n", f"warmup_steps = 0\nweight_decay = 0.0\n{extra}")
        )
        torch.manual_seed(0)
        stage = build_stage(load_recipe(recipe), Paths(corpus, tmp_path), torch.device("cpu"))
        assert stage.network.decoder is not None
        before = stage.network.decoder.embedding.weight.detach().clone()
        loop = Loop(stage, tmp_path / name)
        loop.run()
        rows = (stage.network.decoder.embedding.weight.detach() - before).norm(dim=1)
        said = {piece for target in stage.training_set.targets for piece in target.pieces or ()}
        never = [row for row in range(FIRST_BYTE, len(rows)) if row not in said]
        moved[name] = float(rows[never].median() / rows[sorted(said)].median())
    assert moved["adam"] > 0.8
    assert moved["proportional"] < 0.3


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_decoder_is_told_its_own_pieces(corpus: Path, tmp_path: Path, share: float) -> None:
    """Where the label goes on: the prompt, the end and what lies behind it stay."""
    recipe = load_recipe(write_recipe(corpus, "own", 1))
    stage = build_stage(recipe, Paths(corpus, tmp_path), torch.device("cpu"))
    network, rng = stage.network.eval(), np.random.default_rng(0)
    assert network.decoder is not None
    items = [(index,) for index in range(24)]
    inputs = stage.source.features(stage.source.hear(items, rng), torch.device("cpu"), rng)
    targets = [item_targets(item, stage.training_set.targets) for item in items]
    pieces = piece_targets(targets, 272, 0.0, rng)
    assert pieces is not None
    batch = Batch(inputs, [target.tokens for target in targets], pieces)
    with torch.no_grad():
        network.decoder.embedding.weight[:FIRST_BYTE] = -network.decoder.norm.weight  # special pieces are unlikely
        outputs = run(network, batch, own=OwnPieces(share, rng))
        expected = run(network, batch).pieces
    assert outputs.told is not None
    assert expected is not None
    best = pieces.inputs.clone()
    goes_on = (pieces.labels != END) & (pieces.weights > 0)
    best.view(-1)[pieces.positions[goes_on] + 1] = expected.argmax(dim=-1)[goes_on]
    assert bool(((outputs.told.inputs == best) | (outputs.told.inputs == pieces.inputs)).all())
    differs = best != pieces.inputs
    assert float((outputs.told.inputs == best)[differs].float().mean()) == pytest.approx(share, abs=0.1)
    assert int(differs.sum()) > 100
    assert torch.equal(outputs.told.labels, pieces.labels)


def test_a_fresh_head_leaves_the_encoder_alone(corpus: Path, tmp_path: Path) -> None:
    """With ctc_gradient = 0 the encoder learns from the decoder only."""
    recipe = write_recipe(corpus, "detached", 1, "---\n[objective]\nctc_gradient = 0.0\nctc_weight = 1.0\n")
    stage = build_stage(load_recipe(recipe), Paths(corpus, tmp_path), torch.device("cpu"))
    gradients = {}
    for share in (0.0, 1.0):
        stage.network.zero_grad()
        rng = np.random.default_rng(0)
        inputs = stage.source.features(stage.source.hear([(0,), (1,)], rng), torch.device("cpu"), rng)
        batch = Batch(inputs, [stage.training_set.targets[index].tokens for index in (0, 1)], None)
        ctc_loss(run(stage.network, batch, share).frames, inputs.frames, batch.tokens).backward()
        norms = [stage.network.get_parameter(name).grad for name in ("head.weight", "blocks.0.ff1.up.weight")]
        gradients[share] = [float(norm.abs().sum()) if norm is not None else 0.0 for norm in norms]
    assert gradients[0.0][0] == pytest.approx(gradients[1.0][0], rel=1e-3) != 0
    assert gradients[0.0][1] == 0 < gradients[1.0][1]


def test_a_stage_learns_from_whisper(corpus: Path, tmp_path: Path) -> None:
    """Here Whisper is a network of nothing learned: what it says of the same audio, silence after it, is matched."""
    train(write_recipe(corpus, "whisper", 0), tmp_path / "whisper")
    switches = (
        'seed = 2\n---\n[objective]\nctc_gradient = 0.0\nwhisper = "stage:whisper"\n'
        "whisper_silence_seconds = 0.4\nwhisper_divergence = 30.0\nwhisper_distance = 3.0\n"
    )
    recipe = write_recipe(corpus, "taught", 30, switches)
    train(recipe, tmp_path / "taught")
    for name in ("kl", "distance"):
        logged = [float(row[2]) for row in read_log(tmp_path / "taught") if row[1] == name]
        assert logged[-1] < 0.7 * logged[0], name
    recipe.write_text(recipe.read_text().replace('whisper = "stage:whisper"', ""))
    with pytest.raises(RecipeError, match="need objective.whisper"):
        load_recipe(recipe)


def test_whisper_hears_silence_where_the_student_hears_nothing(corpus: Path, tmp_path: Path) -> None:
    train(write_recipe(corpus, "whisper", 0), tmp_path / "whisper")
    recipe = write_recipe(corpus, "heard", 1, 'start = "stage:whisper"\n---\n')
    stage = build_stage(load_recipe(recipe), Paths(corpus, tmp_path / "heard"), torch.device("cpu"))
    teacher = WhisperTeacher(stage.network, silence_seconds=2.0)
    rng = np.random.default_rng(0)
    short, long = sorted(range(24), key=lambda index: stage.training_set.durations_seconds[index])[::23]

    def taught(*clips: int) -> torch.Tensor:
        inputs = stage.source.features(stage.source.hear([(clip,) for clip in clips], rng), torch.device("cpu"), rng)
        pieces = piece_targets([stage.training_set.targets[clip] for clip in clips], 272, 0.0, rng)
        encoded = teacher(Batch(inputs, [], pieces)).encoded
        assert encoded.shape[1] == inputs.mel.shape[1] // 4
        return encoded[0, : int(inputs.frames[0])]

    # Alone or beside a longer clip: what a row hears after its clip is silence for two seconds, then nothing.
    torch.testing.assert_close(taught(short, long), taught(short), rtol=1e-3, atol=1e-3)


def test_new_layers_are_clipped_by_themselves(corpus: Path, tmp_path: Path) -> None:
    """A fresh head's gradients must not shrink the others' to nothing."""
    recipe = write_recipe(corpus, "clipped", 1)
    recipe.write_text(
        recipe.read_text().replace("new_learning_rate = 3e-3", 'new_learning_rate = 1e-2\nnew = ["head"]')
    )
    stage = build_stage(load_recipe(recipe), Paths(corpus, tmp_path), torch.device("cpu"))
    loop = Loop(stage, tmp_path)
    for parameter in loop.network.parameters():
        parameter.grad = torch.full_like(parameter, 1e-5)
    loop.network.head.weight.grad = torch.full_like(loop.network.head.weight, 1e3)
    norm = loop.clip_gradients(1.0)
    assert float(norm) == pytest.approx(1e3 * loop.network.head.weight.numel() ** 0.5, rel=1e-3)
    assert float(loop.network.head.weight.grad.norm()) == pytest.approx(1.0, rel=1e-3)
    assert float(loop.network.final_norm.weight.grad[0]) == pytest.approx(1e-5)


def test_sensitivity_gives_planes_to_what_needs_them(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, "control", 4)
    train(recipe, tmp_path / "control")
    out = tmp_path / "allocation.json"
    lines = list(sensitivity.table(recipe, tmp_path / "control" / "weights.pt", out, stride=8))
    written = json.loads(out.read_text())
    layers = written["divergence"]
    assert len(lines) == 2 + len(layers) == 2 + 2 * 10 + 10
    assert set(written["planes"]) == {"1", "2"}
    worst = [float(line.split("|")[2]) for line in lines[2:]]
    assert worst == sorted(worst, reverse=True)
    assert all(row["4"] < row["1"] for row in layers.values())
    assert written["planes"]["1"]["decoder.embedding"] == 2
    assert "decoder.embedding" not in written["planes"]["2"]


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
    joint = '---\n[quantize.schedule]\npasses = "joint"\nstochastic_share = 1.0\n'
    train(write_recipe(corpus, "joint", 6, joint), tmp_path)
    names = {row[1] for row in read_log(tmp_path)}
    assert {"ctc_high", "pieces_high", "ctc_1bit", "pieces_1bit", "ctc_mixed", "kl_1bit", "kl_mixed"} <= names


def test_two_bit_may_be_the_papers_ternary(corpus: Path, tmp_path: Path) -> None:
    switches = 'scheme = "ternary"\nper_row = false\n[quantize.schedule]\npasses = "joint"\n'
    loop = train(write_recipe(corpus, "ternary", 2, f"---\n[quantize]\n{switches}"), tmp_path)
    layer = next(iter(quantised_layers(loop.network).values()))
    scale = layer.scale(2).item()
    assert layer.quantised_weight(2).unique().tolist() == pytest.approx([-scale, 0, scale])
    assert load_checkpoint(tmp_path / "weights.pt").quantize == {
        "per_row": False,
        "scheme": "ternary",
        "private_norms": True,
    }
    with pytest.raises(RecipeError, match="scheme must be nested, independent or ternary"):
        load_recipe(write_recipe(corpus, "both", 2, '---\n[quantize]\nscheme = "binary"\n'))


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
        ("[[data.train]]\npath = 'x'\nstride = 0\n", "data: train\\[0\\]: stride must be 1 or more, not 0"),
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
        (("chunks = [8, 0]", 'chunks = [8, 0]\nstart = "no.safetensors"'), "no.safetensors: not a Whisper"),
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
