"""`onebit bench`: everything that is measured by hand, each with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onebit_model.files.output_paths import check_output, check_output_folder, check_plot
from onebit_service.commands.options import parse_counts
from onebit_service.commands.output import errors_for_people, show_lines

MOST_ROWS = 1 << 16

app = typer.Typer(help="Speed and quality, measured beside other engines and methods.", no_args_is_help=True)


@app.command("kernels")
def kernels(
    rows: Annotated[str, typer.Option(help="Rows M of the input, as in 1,16,256.")] = "1,16,256",
    turns: Annotated[int, typer.Option(min=1, help="Turns of which the median counts.")] = 9,
    isa: Annotated[str, typer.Option(help="Instruction set. Default: the best of this machine.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw bars into this .svg or .png.")] = None,
) -> None:
    """Low-bit products at the sizes of the model, in 10^9 operations a second (peers: the extra bench)."""
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


@app.command("engine")
def engine(
    model: Annotated[Path | None, typer.Option(help="Packed model. Default: the shipped one.")] = None,
    seconds: Annotated[str, typer.Option(help="Lengths of speech, as in 2,10,30.")] = "2,10,30",
    turns: Annotated[int, typer.Option(min=1, help="Turns of which the median counts.")] = 7,
    isa: Annotated[str, typer.Option(help="Instruction set. Default: the best of this machine.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw bars into this .svg or .png.")] = None,
) -> None:
    """From samples to log-probabilities: real-time factor, stages, streams, memory (peers: the extra bench)."""
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


@app.command()
def recognizers(
    whisper: Annotated[
        str | None,
        typer.Option(metavar="base|FOLDER", help="Whisper base of the extra whisper, or what faster-whisper wants."),
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="One clip in so many of the shipped sets is heard.")] = 16,
    shortest: Annotated[float, typer.Option(min=0, help="Seconds that a clip has to last.")] = 0.0,
    longest: Annotated[float, typer.Option(min=0, help="Seconds that a clip may last.")] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="Of faster-whisper; the others use one.")] = 1,
) -> None:
    """Word errors, processor time and memory beside other recognizers of speech (needs the extra bench)."""
    with errors_for_people():
        from onebit_model.bench.recognizers import Clips, table

        show_lines(table(whisper, Clips(stride, shortest, longest), threads))


@app.command()
def robustness(
    noise: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of noises without speech.")],
    stride: Annotated[int, typer.Option(min=1, help="One clip in so many of the shipped sets is heard.")] = 3,
) -> None:
    """Word errors in noise and through a telephone, words heard where none are, times and confidences (needs torch)."""
    with errors_for_people():
        from onebit_model.bench.robustness import table

        show_lines(table(noise, stride))


@app.command()
def calibration(
    model: Annotated[Path, typer.Argument(help="Packed file with an attention decoder.")],
    sets: Annotated[list[str], typer.Option("--set", help="Labelled speech, as in evaluate; repeatable.")],
    out: Annotated[Path, typer.Option(help="Packed file to write.")],
) -> None:
    """Fit the confidence of written words to the share of them that are right, and store the fit in the file."""
    with errors_for_people():
        check_output(out)
        from onebit_model.bench.calibration import calibrate

        show_lines(calibrate(model, sets, out))


@app.command()
def sensitivity(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the control, whose dev clips are heard.")],
    checkpoint: Annotated[Path, typer.Argument(help="The trained control.")],
    out: Annotated[Path, typer.Option(help="Allocation to write (JSON), for quantize.allocation of a recipe.")],
    stride: Annotated[int, typer.Option(min=1, help="One dev clip in so many is heard.")] = 8,
) -> None:
    """What each matrix costs at 1, 2 and 4 bit, and the planes that each gets within the file's size (needs torch)."""
    with errors_for_people():
        check_output(out)
        from onebit_model.bench.sensitivity import table

        show_lines(table(recipe, checkpoint, out, stride))


@app.command("hotword-recall")
def hotword_recall(
    sentences: Annotated[Path, typer.Argument(help="Sentences, one a line (.gz too), that tell which words are rare.")],
    manifests: Annotated[list[Path], typer.Argument(help="Manifests of the clips to hear.")],
) -> None:
    """What beam, language model and hotwords bring, in word errors and in rare words found."""
    with errors_for_people():
        from onebit_model.bench.hotword_recall import table

        show_lines(table(sentences, manifests))


@app.command()
def ablation(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML) of what every row shares.")],
    output: Annotated[Path, typer.Option(help="Folder for the runs of the rows.")] = Path("runs/ablation"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each row, from the recipe's seed on.")] = 1,
) -> None:
    """What each part of the method is worth: fine-tunes of as many steps from one checkpoint (needs torch)."""
    with errors_for_people():
        check_output_folder(output)
        from onebit_model.bench.ablation import table

        show_lines(table(recipe, output, seeds))
