"""From a file of the trainer to scores: `onebit export` and the full-precision control."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from onebit_model.config import ModelConfig
from onebit_model.data.batching import pad_audio
from onebit_model.errors import DamagedFileError, ModelFileError, RecipeError, SearchOptionError
from onebit_model.evaluation.full_precision import SearchChoice, full_precision_model
from onebit_model.evaluation.results import ScoredUtterance, SystemResult, read_results, write_results
from onebit_model.files.packed import read_packed
from onebit_model.network.assembly import network_from_checkpoint, starting_network
from onebit_model.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, save_weights
from onebit_model.network.conformer import Conformer
from onebit_model.network.decoder import AttentionDecoder
from onebit_model.network.export import average_checkpoints, export_checkpoint, network_from_packed
from onebit_model.network.frontend import LogMel
from onebit_model.network.greedy import Beginning, greedy_pieces
from onebit_model.network.quantizers import quantise
from onebit_model.text.piece_encoder import PieceEncoder
from onebit_model.text.pieces import END, PROMPT
from onebit_model.text.search import search_tools
from onebit_model.text.tokenizer import train_tokenizer
from onebit_service.commands.cli import app

SMALL = ModelConfig(
    d_model=32, heads=2, blocks=2, feed_forward1=48, feed_forward2=48, average_after=1, vocabulary_size=40
)
SENTENCES = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen liquor jugs", "it's vexing"]
OPTIONS = {"per_row": True, "scheme": "nested", "private_norms": True}


MERGED = PieceEncoder(tuple((6 + 32, 6 + letter) for letter in b"abcdefghij"), tuple(range(6 + 256 + 10)))
WRITING = dataclasses.replace(
    SMALL,
    decoder_blocks=1,
    decoder_feed_forward=48,
    decoder_vocabulary_size=len(MERGED.pieces),
    decoder_positions=32,
)


def checkpoint(quantised: bool, config: ModelConfig = SMALL, **more_options: object) -> Checkpoint:
    torch.manual_seed(1)
    network = Conformer(config)
    options = OPTIONS | more_options if quantised else None
    if options is not None:
        quantise(network, **options)  # type: ignore[arg-type]
    tokenizer = train_tokenizer(SENTENCES, SMALL.vocabulary_size)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    pieces = MERGED.to_json() if config.has_decoder else ""
    return Checkpoint(config, state, tokenizer.model, 12, "tiny", options, {}, pieces)


@pytest.fixture(params=[False, True], ids=["plain", "quantised"])
def checkpoint_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "state.pt"
    save_checkpoint(path, checkpoint(request.param))
    return path


def test_export_of_a_checkpoint(checkpoint_path: Path, tmp_path: Path) -> None:
    exported = export_checkpoint(checkpoint_path, tmp_path / "model", (1, 2, 4), {"1 bit": {"mine": 0.5}})
    packed = read_packed(tmp_path / "model")
    assert packed.config == SMALL
    assert len(packed.vocabulary) == 40
    assert packed.description.training["step"] == 12
    assert packed.description.wer == {"1 bit": {"mine": 0.5}}
    assert len(packed.description.checkpoint_sha256) == 64
    assert exported.fp32_bytes == 4 * sum(p.numel() for p in Conformer(SMALL).parameters())
    assert network_from_packed(tmp_path / "model", 2).config == SMALL


@pytest.mark.parametrize("quantised", [False, True])
def test_export_of_a_checkpoint_with_a_decoder(quantised: bool, tmp_path: Path) -> None:
    allocation = {
        "1": {"blocks.0.ff1.up": 4, "decoder.blocks.0.feed_forward.down": 2, "decoder.embedding": 2},
        "2": {"blocks.0.ff1.up": 4},
    }
    save_checkpoint(tmp_path / "state.pt", checkpoint(quantised, WRITING, allocation=allocation))
    exported = export_checkpoint(tmp_path / "state.pt", tmp_path / "model", (1, 2, 4))
    packed = read_packed(tmp_path / "model")
    assert packed.config == WRITING
    assert search_tools(packed).pieces == MERGED.pieces
    stored = {str(bits): planes for bits, planes in packed.description.allocation.exceptions.items()}
    assert stored == (allocation if quantised else {})
    assert exported.fp32_bytes == 4 * sum(p.numel() for p in Conformer(WRITING).parameters())
    assert network_from_packed(tmp_path / "model", 1).decoder is not None


def test_the_control_writes(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "state.pt", checkpoint(False, WRITING))
    noise = np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    writing = full_precision_model(tmp_path / "state.pt")
    assert writing.search.written is not None
    network, _ = network_from_checkpoint(load_checkpoint(tmp_path / "state.pt"))
    with torch.no_grad():
        mel, frames = LogMel()(*pad_audio([noise]))
        encoded = network.upper(network.lower(mel, frames, 0, WRITING.average_after), frames // 4, 0)
        assert network.decoder is not None
        (expected,) = greedy_pieces(network.decoder, encoded, frames // 4)
    assert writing.transcribe(noise) == MERGED.pieces.text(expected).strip()
    heard = full_precision_model(tmp_path / "state.pt", 0, SearchChoice(decoder="ctc"))
    assert heard.search.written is None
    assert set(heard.transcribe(noise)) <= set("abcdefghijklmnopqrstuvwxyz' ")
    with pytest.raises(SearchOptionError, match="greedy at full precision"):
        full_precision_model(tmp_path / "state.pt", 0, SearchChoice(beam=4))


def scripted(script: list[int]) -> AttentionDecoder:
    """Writes a piece for every place of its text, whatever it hears."""
    decoder = AttentionDecoder(WRITING).requires_grad_(False).eval()
    for block in decoder.blocks:
        for name, parameter in block.named_parameters():
            if "output." in name or "down." in name:
                parameter.zero_()
    places = [*script, *[END] * (WRITING.decoder_positions - len(script))][
        : WRITING.decoder_positions - len(PROMPT) + 1
    ]
    decoder.positions[len(PROMPT) - 1 :] = 9 * decoder.embedding.weight[places]
    return decoder


def test_greedy_pieces_go_on_from_what_is_begun() -> None:
    torch.manual_seed(1)
    decoder = scripted([70, 80, 90, 100])
    encoded, frames = torch.randn(1, 20, WRITING.d_model), torch.tensor([20])
    assert greedy_pieces(decoder, encoded, frames) == [[70, 80, 90, 100]]
    assert greedy_pieces(decoder, encoded, frames, beginning=Beginning((75, 85))) == [[75, 85, 90, 100]]
    (other,) = greedy_pieces(decoder, encoded, frames, beginning=Beginning((70,), ((1, 80), (3, 90), (0, 70))))
    assert other[1] != 80
    assert [other[0], *other[2:]] == [70, 90, 100]
    assert greedy_pieces(decoder, encoded, frames, most_pieces=2, beginning=Beginning((75,))) == [[75, 80]]


def test_the_control_writes_no_circles(tmp_path: Path) -> None:
    """Whatever CTC heard; another phrase that comes twice stays where CTC has heard it so."""
    phrase = [6 + letter for letter in b" ab"]
    saved = checkpoint(False, WRITING)
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    for script, is_loop in ((phrase * 7, True), (phrase * 2, False)):
        state = {f"decoder.{name}": value for name, value in scripted(script).state_dict().items()}
        save_checkpoint(tmp_path / "state.pt", dataclasses.replace(saved, network=saved.network | state))
        text = full_precision_model(tmp_path / "state.pt").transcribe(noise)
        assert text.startswith("ab")
        assert not text.startswith("ab ab ab")
        assert not is_loop or not text.startswith("ab ab")


def test_half_precision_weights_export_too(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights.pt", checkpoint(True))
    assert export_checkpoint(tmp_path / "weights.pt", tmp_path / "model", (1,)).packed.bits == (1,)


def test_the_mean_of_checkpoints(tmp_path: Path) -> None:
    one, plain = checkpoint(True), checkpoint(False)
    other = dataclasses.replace(one, network={name: value + 0.5 for name, value in one.network.items()}, step=20)
    for name, kept in (("one", one), ("other", other), ("plain", plain)):
        save_checkpoint(tmp_path / f"{name}.pt", kept)
    paths = [str(tmp_path / f"{name}.pt") for name in ("one", "other")]
    done = CliRunner().invoke(app, ["average", *paths, "--out", str(tmp_path / "mean.pt")])
    assert done.exit_code == 0, done.output
    mean = load_checkpoint(tmp_path / "mean.pt")
    assert (mean.step, mean.quantize) == (20, one.quantize)
    for name, value in one.network.items():
        torch.testing.assert_close(mean.network[name], value + 0.25, rtol=1e-2, atol=1e-2)
    with pytest.raises(ModelFileError, match=r"one\.pt and .*plain\.pt are of different networks or quantizers"):
        average_checkpoints([tmp_path / "one.pt", tmp_path / "plain.pt"], tmp_path / "none.pt")


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    with pytest.raises(ModelFileError, match=r"other\.pt: cannot be read"):
        load_checkpoint(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match=r"other\.pt: not a training checkpoint"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match=r"other\.pt: not a training checkpoint"):
        load_checkpoint(path)


def test_a_start_of_another_size(checkpoint_path: Path) -> None:
    with pytest.raises(RecipeError, match="another model size"):
        starting_network([checkpoint_path], dataclasses.replace(SMALL, blocks=3), seed=1)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["export", "none.pt", "out.pt"], "none.pt: cannot be read: No such file or directory"),
        (["export", "state.pt", "nowhere/out.pt"], "nowhere: no such folder"),
        (["average", "state.pt", "texts.txt", "--out", "out.pt"], "texts.txt: not a training checkpoint"),
        (["language-model", "none.txt", "--checkpoint", "state.pt", "--out", "out"], "none.txt: No such file"),
        (
            ["language-model", "texts.txt", "--checkpoint", "state.pt", "--out", "nowhere/out"],
            "nowhere: no such folder",
        ),
        (["export", "state.pt", "."], ". is a folder"),
        (["export", "state.pt", "texts.txt/out"], "texts.txt: no such folder"),
        (["average", "state.pt", "state.pt", "--out", "nowhere/out"], "nowhere: no such folder"),
        (["evaluate", "--json", "nowhere/r.json"], "nowhere: no such folder"),
        (["evaluate", "--json", "."], ". is a folder"),
        (["evaluate", "--compare", "a", "b", "--report", "texts.txt/report"], "texts.txt is no folder"),
        (["evaluate", "--compare", "a", ""], "a: cannot be read"),
        (["evaluate", "--compare", "", "a"], "an empty name ''"),
        (["evaluate", "--set", "texts.txt"], "texts.txt: line 1: not JSON"),
        (["bench", "kernels", "--json", "nowhere/r.json"], "nowhere: no such folder"),
        (["bench", "kernels", "--plot", "nowhere/r.svg"], "nowhere: no such folder"),
        (["bench", "engine", "--json", "."], ". is a folder"),
        (["bench", "engine", "--plot", "a.pdf"], "a.pdf: the name of a plot ends in .svg or .png"),
    ],
)
def test_files_that_cannot_be_used_end_a_command_with_one_line(
    checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], complaint: str
) -> None:
    monkeypatch.chdir(checkpoint_path.parent)
    Path("texts.txt").write_text("the dog jumps\n")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {complaint}")
    assert done.stderr.count("\n") == 1


LANGUAGE_MODEL = ["language-model", "texts.txt", "--checkpoint", "state.pt", "--out", "out"]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["evaluate", "--report", "report"], "--report goes with --compare"),
        (["evaluate", "--bits", "1", "--checkpoint", "state.pt"], "leave --bits out"),
        (["average", "state.pt", "--out", "out"], "name two or more checkpoints"),
        ([*LANGUAGE_MODEL, "--order", "0"], "--order"),
        ([*LANGUAGE_MODEL, "--order", "8"], "--order"),
        ([*LANGUAGE_MODEL, "--entries", "0"], "--entries"),
        ([*LANGUAGE_MODEL, "--weight=-1"], "--weight"),
        ([*LANGUAGE_MODEL, "--weight=nan"], "--weight"),
        ([*LANGUAGE_MODEL, "--token-bonus=inf"], "--token-bonus"),
        *((["bench", "kernels", f"--rows={rows}"], "--rows") for rows in ("abc", "", "0", "-1", "1,,2")),
        *(
            (["bench", "engine", f"--seconds={seconds}"], "--seconds")
            for seconds in ("abc", "", "0", "-1", "2.5", "31")
        ),
    ],
)
def test_options_that_are_impossible_are_named(
    command: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert complaint in " ".join(click.unstyle(done.output).replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_an_order_of_one_is_a_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(Path("state.pt"), checkpoint(False))
    Path("texts.txt").write_text("the dog jumps\n")
    done = CliRunner().invoke(app, [*LANGUAGE_MODEL, "--order", "1"])
    assert done.exit_code == 0, done.output


def test_the_table_is_shown_although_its_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = {"id": "u", "speaker": "s", "reference": "one", "hypothesis": "one"}
    write_results("r.json", [SystemResult("4 bit", 4, "segment", 9, "", {"mine": [ScoredUtterance(**result)]})])
    done = CliRunner().invoke(app, ["evaluate", "--results", "r.json", "--json", "/dev/full"])
    assert "4 bit" in done.stdout
    assert done.exit_code == 1


def test_what_cannot_be_written_leaves_nothing_behind(checkpoint_path: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    before = sorted(tmp_path.iterdir())
    for write in (export_checkpoint, lambda source, path: save_checkpoint(path, load_checkpoint(source))):
        with pytest.raises(IsADirectoryError) as caught:
            write(checkpoint_path, tmp_path / "out")
        assert caught.value.filename == str(tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_flipped_byte_of_a_checkpoint_is_found(checkpoint_path: Path, tmp_path: Path) -> None:
    content = checkpoint_path.read_bytes()
    weights = [value for value in load_checkpoint(checkpoint_path).network.values() if value.ndim == 2]
    for weight in weights[::4]:
        flipped = bytearray(content)
        flipped[content.index(weight.numpy().tobytes())] ^= 1
        (tmp_path / "flipped.pt").write_bytes(flipped)
        with pytest.raises(DamagedFileError, match=r"flipped\.pt: damaged: the bytes of archive/data/\d+ are not"):
            load_checkpoint(tmp_path / "flipped.pt")


def test_a_damaged_directory_of_a_checkpoint_is_said(checkpoint_path: Path) -> None:
    content = bytearray(checkpoint_path.read_bytes())
    content[-38] ^= 0x10  # a number of disks
    checkpoint_path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"state\.pt: damaged: "):
        load_checkpoint(checkpoint_path)


def test_the_control_gives_text(checkpoint_path: Path) -> None:
    model = full_precision_model(checkpoint_path)
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    text = model.transcribe(noise)
    assert text == model.transcribe(noise)
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz' ")
    assert model.transcribe(noise[:0]) == ""
    assert model.model_bytes > 4 * 32 * 32


def test_commands(checkpoint_path: Path, tmp_path: Path) -> None:
    """export; evaluate the control through torch and the packed file through the engine; compare the two."""
    runner = CliRunner()
    result = runner.invoke(app, ["export", str(checkpoint_path), str(tmp_path / "model"), "--bits", "1"])
    assert result.exit_code == 0, result.output
    assert "times as many" in result.output

    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(8000) / 9, 16_000)
    row = {"id": "a", "audio": "a.wav", "text": "it's a box", "duration": 0.5}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "control.json"
    options = ["--set", str(tmp_path / "mine.jsonl"), "--checkpoint", str(checkpoint_path), "--json", str(out)]
    options += ["--chunk", "8"]
    result = runner.invoke(app, ["evaluate", *options])
    assert result.exit_code == 0, result.output
    assert "full precision" in result.output
    assert read_results(out)[0].sets["mine"][0].reference == "it's a box"

    packed = tmp_path / "packed.json"
    options = [
        "--set",
        str(tmp_path / "mine.jsonl"),
        "--model",
        str(tmp_path / "model"),
        "--json",
        str(packed),
        "--chunk",
        "8",
    ]
    result = runner.invoke(app, ["evaluate", *options, "--markdown"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("| set | 1 bit")
    assert [system.bits for system in read_results(packed)] == [1]

    result = runner.invoke(app, ["evaluate", "--markdown", "--results", str(out), "--results", str(packed)])
    assert result.output.startswith("| set | full precision, "), result.output
    assert " | 1 bit, " in result.output.splitlines()[0]

    result = runner.invoke(app, ["evaluate", "--compare", str(out), str(packed), "--report", str(tmp_path / "report")])
    assert result.exit_code == 0, result.output
    assert "MAPSSWE" in result.output
    assert (tmp_path / "report" / "comparison.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "none.pt", "out"], "none.pt: cannot be read"),
        (["evaluate", "--model", "none"], "none: there is no model file here"),
        (["evaluate", "--compare", "a.json", "b.json"], "a.json: cannot be read"),
        (["evaluate", "--bits", "3"], "not a list out of 1, 2 and 4"),
        (["evaluate", "--chunk", "7"], "'7' is not one of"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


def test_eight_bits_keep_the_codes_of_every_precision(checkpoint_path: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.pt"
    run = CliRunner().invoke(app, ["export", str(checkpoint_path), str(kept)])
    assert run.exit_code == 0, run.output
    before, after = load_checkpoint(checkpoint_path), load_checkpoint(kept)
    assert after.optimizer == {}
    assert set(after.network) == set(before.network)
    for name, value in before.network.items():
        spread = float(value.abs().max())
        torch.testing.assert_close(after.network[name], value, rtol=0, atol=spread / 100 + 1e-6)
    first, second = (export_checkpoint(path, tmp_path / path.stem) for path in (checkpoint_path, kept))
    if before.quantize is not None:
        planes = [name for name in first.packed.tensors if name.endswith(".planes")]
        assert planes
        assert all(np.array_equal(first.packed.tensors[n], second.packed.tensors[n]) for n in planes)
