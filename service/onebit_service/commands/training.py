"""`onebit train`, `export`, `average` and `language-model`: from a recipe to the files that are served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onebit_model.files.output_paths import check_output
from onebit_service.commands.options import finite, parse_bits
from onebit_service.commands.output import errors_for_people, show


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    output: Annotated[Path | None, typer.Option(help="Folder for checkpoints and logs. Default: runs/RECIPE.")] = None,
) -> None:
    """Train a model by a recipe; goes on where an interrupted run stopped (needs torch)."""
    with errors_for_people():
        from onebit_model.training.loop import train as run

        run(recipe, output or Path("runs") / recipe.stem)


def written_labels(
    recipe: Annotated[Path, typer.Argument(help="Recipe of one stage (TOML); data.written names the file.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the stage, as train has it.")] = None,
) -> None:
    """Spell the labels of clips without written text as Whisper does (needs torch)."""
    with errors_for_people():
        from onebit_model.training.preparation import make_written_labels

        show(f"{make_written_labels(recipe, output or Path('runs') / recipe.stem):,} clips")


def soft_labels(
    recipe: Annotated[Path, typer.Argument(help="Recipe of one stage (TOML); data.soft_labels names the file.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the stage, as train has it.")] = None,
) -> None:
    """Store what Whisper makes of every piece of the training texts (needs torch)."""
    with errors_for_people():
        from onebit_model.training.preparation import make_soft_labels

        show(f"{make_soft_labels(recipe, output or Path('runs') / recipe.stem):,} clips")


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the trainer.")],
    out: Annotated[Path, typer.Argument(help="Packed file to write; NAME.pt: weights in 8 bits, to train on from.")],
    bits: Annotated[str, typer.Option(help="Precisions to store, as in 1,2,4.")] = "1,2,4",
    results: Annotated[
        Path | None, typer.Option(help="--json file of evaluate whose table to store in the file.")
    ] = None,
) -> None:
    """Pack a training checkpoint for serving (needs torch)."""
    with errors_for_people():
        check_output(out)
        from onebit_model.evaluation.evaluation import wer_table
        from onebit_model.evaluation.results import read_results
        from onebit_model.network.export import export_checkpoint, keep_checkpoint

        if out.suffix == ".pt":
            show(f"{out}: {keep_checkpoint(checkpoint, out):,} bytes")
            return
        table = wer_table(read_results(results)) if results else {}
        exported = export_checkpoint(checkpoint, out, parse_bits(bits), table)
        ratio = exported.fp32_bytes / exported.packed.file_bytes
        show(
            f"{out}: {exported.packed.file_bytes:,} bytes at {bits} bit; {exported.fp32_bytes:,} bytes in float32 "
            f"are {ratio:.1f} times as many"
        )


def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="Two or more checkpoints of one network.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, without optimiser state.")],
) -> None:
    """Average the weights of checkpoints (needs torch)."""
    if len(checkpoints) < 2:
        raise typer.BadParameter("name two or more checkpoints: one has no mean")
    with errors_for_people():
        check_output(out)
        from onebit_model.network.export import average_checkpoints

        average_checkpoints(checkpoints, out)
        show(f"{out}: {out.stat().st_size:,} bytes")


def language_model(
    texts: Annotated[
        list[Path],
        typer.Argument(help="Texts, one sentence a line (.gz too); manifests, whose human labels count."),
    ],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint of the model that it is for; lends its vocabulary.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Manifests whose sentences must not be in it; repeatable.")
    ] = None,
    order: Annotated[int, typer.Option(min=1, max=7, help="Longest n-gram, in pieces.")] = 5,
    entries: Annotated[int, typer.Option(min=1, help="N-grams above the first order to keep.")] = 300_000,
    weight: Annotated[
        float, typer.Option(min=0, callback=finite, help="Of its log-probabilities in the beam search.")
    ] = 0.7,
    token_bonus: Annotated[
        float, typer.Option(callback=finite, help="For every piece; a language model alone shortens texts.")
    ] = 2.5,
) -> None:
    """Make an n-gram language model of a model's vocabulary (needs sentencepiece)."""
    with errors_for_people():
        check_output(out)
        from onebit_model.network.checkpoint import load_checkpoint
        from onebit_model.text.tokenizer import Tokenizer
        from onebit_model.training.language_model_training import LanguageModelOptions, make_language_model

        tokenizer = Tokenizer(load_checkpoint(checkpoint).tokenizer)
        options = LanguageModelOptions(order, entries, weight, token_bonus)
        made = make_language_model(out, tokenizer, texts, held_out or [], options)
        counts = ", ".join(f"{count:,} {name}" for name, count in made.items())
        show(f"{out}: {out.stat().st_size:,} bytes; {counts}")
