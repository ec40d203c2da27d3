"""The program `onebit`. Imports of each command sit inside it, so that `serve` never loads torch."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from onebit_model.files.output_paths import check_output, check_output_folder, check_plot

app = typer.Typer(help="Speech recognition at 1, 2 and 4 bits.", no_args_is_help=True, pretty_exceptions_enable=False)


MOST_ROWS = 1 << 16
LANGUAGE_MODEL_HELP = "Language model of the beam search. Default: the shipped one; none: no model."


class ChunkChoice(StrEnum):
    segment = "segment"
    eight = "8"
    sixteen = "16"


@contextmanager
def errors_for_people() -> Iterator[None]:
    """What the input is at fault for ends the program with one line, not with a traceback."""
    from onebit_model.errors import OnebitError

    try:
        yield
    except OnebitError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        _forget_output()
        # Whoever read the output has seen enough.
        if not isinstance(error, BrokenPipeError):
            typer.echo(f"error: {_reason(error)}", err=True)
        raise typer.Exit(1) from error


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _forget_output() -> None:
    """What could not be written is not tried once more at the end of the program, where it would be a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse_bits(text: str) -> tuple[int, ...]:
    """ "4,1" -> (1, 4)."""
    try:
        bits = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        bits = ()
    if not bits or not set(bits) <= {1, 2, 4}:
        raise typer.BadParameter(f"{text!r} is not a list out of 1, 2 and 4")
    return bits


def parse_counts(text: str, option: str, most: int) -> list[int]:
    """ "1,16" -> [1, 16], of numbers from 1 to `most`."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= count <= most for count in counts):
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers from 1 to {most}", param_hint=option)
    return counts


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[str | None, typer.Option(metavar="INTEGER", help="Port to listen on.")] = None,
    model: Annotated[str | None, typer.Option(help="Packed file. Default: the shipped one.")] = None,
    default_bits: Annotated[
        str | None, typer.Option(metavar="INTEGER", help="Precision where a request names none.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate (PEM).")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its private key (PEM).")] = None,
) -> None:
    """Serve over HTTP and WebSocket. Every other setting is a variable of the environment: docs/settings.md.

    An empty option counts as not given.
    """
    with errors_for_people():
        from onebit_service.commands.serving import run_server

        given = {
            "host": host,
            "port": port,
            "model": model,
            "default_bits": default_bits,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
        }
        code = run_server(given)
    raise typer.Exit(code)


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Audio files; - is standard input.")],
    bits: Annotated[int, typer.Option(help="Precision: 1, 2 or 4.")] = 4,
    chunk: Annotated[ChunkChoice, typer.Option(help="What the network sees at once.")] = ChunkChoice.segment,
    beam: Annotated[
        int | None,
        typer.Option(help="Texts that the search keeps, 1 to 32; 1 is greedy. Default: 16."),
    ] = None,
    hotwords: Annotated[list[str] | None, typer.Option(help="Comma-separated phrases to prefer; repeatable.")] = None,
    model: Annotated[str, typer.Option(metavar="PATH", help="Packed file. Default: the shipped one.")] = "",
    language_model: Annotated[str, typer.Option(help=LANGUAGE_MODEL_HELP)] = "",
) -> None:
    """Print what is said in audio files, one segment a line, without a server."""
    with errors_for_people():
        from onebit_model.config import CHUNKS
        from onebit_model.recognition.recognizer import Recognizer
        from onebit_model.text.search import split_phrases
        from onebit_service.commands.serving import naming_audio, open_source, transcribe_file

        recognizer = Recognizer.load(model, language_model=language_model)
        search = recognizer.search(beam, split_phrases(hotwords or []))
        for file in files:
            with open_source(file) as source, naming_audio(file):
                for text in transcribe_file(recognizer, source, bits, CHUNKS[chunk.value], search):
                    typer.echo(text if len(files) == 1 else f"{file}: {text}")


@app.command()
def stream(
    file: Annotated[Path | None, typer.Argument(help="Audio file; - is standard input.")] = None,
    microphone: Annotated[bool, typer.Option("--microphone", help="Record instead (arecord, parec or rec).")] = False,
    url: Annotated[str, typer.Option(help="The server's /stream.")] = "ws://127.0.0.1:8000/stream",
    bits: Annotated[int | None, typer.Option(help="Precision: 1, 2 or 4. Default: the server's.")] = None,
    key: Annotated[str | None, typer.Option(envvar="ONEBIT_KEY", help="Key, where the server wants one.")] = None,
    hotwords: Annotated[list[str] | None, typer.Option(help="Comma-separated phrases to prefer; repeatable.")] = None,
    real_time: Annotated[bool, typer.Option("--real-time", help="Send a file as slowly as it is spoken.")] = False,
) -> None:
    """Send audio to a server as a stream and show the text as it comes."""
    if (file is None) != microphone:
        raise typer.BadParameter("name a file, or --microphone")
    with errors_for_people():
        import asyncio

        from websockets.exceptions import InvalidStatus, WebSocketException

        from onebit_model.text.search import split_phrases
        from onebit_service.client import StreamOptions, StreamRefusedError
        from onebit_service.commands.stream import StreamJob, run_stream

        try:
            options = StreamOptions(bits=bits, hotwords=split_phrases(hotwords or []))
            asyncio.run(run_stream(StreamJob(url, file, options, key, real_time)))
        except InvalidStatus as error:
            # The server never refuses a stream like this, but says why: this is another path, or another server.
            hint = " (is the path right? streams are at /stream)" if error.response.status_code in (403, 404) else ""
            typer.echo(f"error: {error}{hint}", err=True)
            raise typer.Exit(1) from error
        except (StreamRefusedError, WebSocketException) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error


@app.command()
def evaluate(
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A shipped set, a manifest or a folder of manifests; repeatable. Default: all shipped."
        ),
    ] = None,
    bits: Annotated[str, typer.Option(help="Precisions, as in 1,2,4. Default: all that the file holds.")] = "",
    chunk: Annotated[ChunkChoice, typer.Option(help="Chunk setting, as in a request.")] = ChunkChoice.segment,
    model: Annotated[Path | None, typer.Option(help="Packed file. Default: the shipped one.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Score this training checkpoint at full precision instead (needs torch).")
    ] = None,
    beam: Annotated[int, typer.Option(help="Texts that the search of a packed file keeps, 1 to 32; 1 is greedy.")] = 1,
    language_model: Annotated[str, typer.Option(help=LANGUAGE_MODEL_HELP + " A greedy search uses none.")] = "",
    exact: Annotated[bool, typer.Option("--exact", help="Exact products instead of the fast ones.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every hypothesis and the table here.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print one Markdown table.")] = False,
    results: Annotated[
        list[Path] | None, typer.Option(help="Show the systems of earlier --json files instead of running; repeatable.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="BASELINE OTHER", help="Compare systems of two --json files (FILE or FILE:SYSTEM)."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="With --compare: write report, JSON and plot to this folder.")
    ] = None,
) -> None:
    """Word error rates with intervals, on labelled sets; or a comparison of two results."""
    if report and not compare:
        raise typer.BadParameter("--report goes with --compare")
    if bits and checkpoint:
        raise typer.BadParameter("--checkpoint is scored at full precision: leave --bits out")
    with errors_for_people():
        check_output(json_file)
        check_output_folder(report)
        if compare:
            _compare(*compare, report)
            return
        from onebit_model.data.reference import reference_sets
        from onebit_model.evaluation.evaluation import summary_document
        from onebit_model.evaluation.report import score_markdown, score_tables
        from onebit_model.evaluation.results import read_results, write_results
        from onebit_model.evaluation.scored_systems import Decoding, score_checkpoint, score_packed

        names = sets or list(reference_sets())
        decoding = Decoding(chunk.value, exact, beam, language_model)
        if results:
            systems = [system for path in results for system in read_results(path)]
        elif checkpoint:
            systems = score_checkpoint(checkpoint, names, decoding)
        else:
            systems = score_packed(model, names, parse_bits(bits) if bits else (), decoding)
        _print(*([score_markdown(systems)] if markdown else score_tables(systems)))
        if json_file:
            write_results(json_file, systems, summary_document(systems))


def _compare(baseline_name: str, other_name: str, report_folder: Path | None) -> None:
    from onebit_model.evaluation.comparison import compare
    from onebit_model.evaluation.report import comparison_table, verdict, write_report
    from onebit_model.evaluation.results import find_system, find_systems

    baseline, others = find_system(baseline_name), find_systems(other_name)
    comparisons = [compare(baseline, other) for other in others]
    for comparison in comparisons:
        _print(comparison_table(comparison), verdict(comparison) + "\n")
    if report_folder:
        _print(f"report: {write_report(report_folder, baseline, others, comparisons)}")


def _print(*parts: object) -> None:
    """Tables fitted to a terminal, but whole where the output goes to a file."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for part in parts:
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


@app.command()
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
            _print(f"{out}: {keep_checkpoint(checkpoint, out):,} bytes")
            return
        table = wer_table(read_results(results)) if results else {}
        exported = export_checkpoint(checkpoint, out, parse_bits(bits), table)
        ratio = exported.fp32_bytes / exported.packed.file_bytes
        _print(
            f"{out}: {exported.packed.file_bytes:,} bytes at {bits} bit; {exported.fp32_bytes:,} bytes in float32 "
            f"are {ratio:.1f} times as many"
        )


@app.command()
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
        _print(f"{out}: {out.stat().st_size:,} bytes")


@app.command()
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
        _print(f"{out}: {out.stat().st_size:,} bytes; {counts}")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    output: Annotated[Path | None, typer.Option(help="Folder for checkpoints and logs. Default: runs/RECIPE.")] = None,
    caches: Annotated[Path | None, typer.Option(help="Folder for cached features. Default: inside the output.")] = None,
) -> None:
    """Train a model by a recipe; goes on where an interrupted run stopped (needs torch)."""
    with errors_for_people():
        from onebit_model.training.trainer import train as run

        run(recipe, output or Path("runs") / recipe.stem, caches)


bench_app = typer.Typer(
    help="Speed, measured beside other engines in one run (needs the extra bench).", no_args_is_help=True
)
app.add_typer(bench_app, name="bench")


@bench_app.command("kernels")
def bench_kernels(
    rows: Annotated[str, typer.Option(help="Rows M of the input, as in 1,16,256.")] = "1,16,256",
    turns: Annotated[int, typer.Option(min=1, help="Turns of which the median counts.")] = 9,
    isa: Annotated[str, typer.Option(help="Instruction set. Default: the best of this machine.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw bars into this .svg or .png.")] = None,
) -> None:
    """Low-bit products at the sizes of the model: 10^9 operations a second, on one core."""
    from rich.console import Console

    from onebit_kernels import isa_names
    from onebit_kernels.bench.kernel_tables import plot, show
    from onebit_kernels.bench.kernels import MODEL_SHAPES, Plan, run, to_json

    if isa and isa not in isa_names():
        raise typer.BadParameter(f"available: {', '.join(isa_names())}", param_hint="--isa")
    counts = parse_counts(rows, "--rows", MOST_ROWS)
    with errors_for_people():
        check_output(json_file)
        check_plot(plot_file)
    console = Console()
    with console.status("measuring") as status:
        plan = Plan(list(MODEL_SHAPES), counts, turns, isa=isa)
        report = run(plan, progress=status.update)
    show(report, console)
    if json_file:
        json_file.write_text(to_json(report))
    if plot_file:
        plot(report, plot_file)


@bench_app.command("engine")
def bench_engine(
    model: Annotated[Path | None, typer.Option(help="Packed model. Default: the shipped one.")] = None,
    seconds: Annotated[str, typer.Option(help="Lengths of speech, as in 2,10,30.")] = "2,10,30",
    turns: Annotated[int, typer.Option(min=1, help="Turns of which the median counts.")] = 7,
    isa: Annotated[str, typer.Option(help="Instruction set. Default: the best of this machine.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw bars into this .svg or .png.")] = None,
) -> None:
    """From samples to log-probabilities: real-time factor, stages, streams together and memory, on one core."""
    from rich.console import Console

    from onebit_kernels import isa_names
    from onebit_model.bench.engine import Plan, run, to_json
    from onebit_model.bench.engine_tables import plot, show
    from onebit_model.config import MAXIMUM_SEGMENT_SECONDS
    from onebit_model.files.assets import model_path

    if isa and isa not in isa_names():
        raise typer.BadParameter(f"available: {', '.join(isa_names())}", param_hint="--isa")
    lengths = parse_counts(seconds, "--seconds", MAXIMUM_SEGMENT_SECONDS)
    console = Console()
    with errors_for_people(), console.status("measuring") as status:
        check_output(json_file)
        check_plot(plot_file)
        report = run(Plan(model_path(model), lengths, turns, isa or None), progress=status.update)
    show(report, console)
    if json_file:
        json_file.write_text(to_json(report))
    if plot_file:
        plot(report, plot_file)
