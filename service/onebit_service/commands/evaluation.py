"""`onebit evaluate`: word error rates of systems on labelled sets, and comparisons of two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onebit_model.files.output_paths import check_output, check_output_folder
from onebit_service.commands.options import (
    DECODER_HELP,
    LANGUAGE_MODEL_HELP,
    ChunkChoice,
    DecoderChoice,
    LiveChoice,
    parse_bits,
)
from onebit_service.commands.output import errors_for_people, show


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
    beam: Annotated[
        int | None,
        typer.Option(help="Texts that the search keeps, up to 8, with ctc 32; 1 is greedy. Default: as served."),
    ] = None,
    decoder: Annotated[DecoderChoice | None, typer.Option(help=DECODER_HELP)] = None,
    language_model: Annotated[str, typer.Option(help=LANGUAGE_MODEL_HELP + " A greedy search uses none.")] = "",
    live: Annotated[
        LiveChoice | None,
        typer.Option(help="As a stream with --chunk 8 or 16 hears it; final texts by chunks or by the whole segment."),
    ] = None,
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
    if live and (checkpoint or chunk == ChunkChoice.segment):
        raise typer.BadParameter("--live needs a packed file and --chunk 8 or 16")
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
        decoding = Decoding(
            chunk.value,
            exact,
            beam,
            language_model,
            decoder.value if decoder else None,
            live.value if live else None,
        )
        if results:
            systems = [system for path in results for system in read_results(path)]
        elif checkpoint:
            systems = score_checkpoint(checkpoint, names, decoding)
        else:
            systems = score_packed(model, names, parse_bits(bits) if bits else (), decoding)
        show(*([score_markdown(systems)] if markdown else score_tables(systems)))
        if json_file:
            write_results(json_file, systems, summary_document(systems))


def _compare(baseline_name: str, other_name: str, report_folder: Path | None) -> None:
    from onebit_model.evaluation.comparison import compare
    from onebit_model.evaluation.report import comparison_table, verdict, write_report
    from onebit_model.evaluation.results import find_system, find_systems

    baseline, others = find_system(baseline_name), find_systems(other_name)
    comparisons = [compare(baseline, other) for other in others]
    for comparison in comparisons:
        show(comparison_table(comparison), verdict(comparison) + "\n")
    if report_folder:
        show(f"report: {write_report(report_folder, baseline, others, comparisons)}")
