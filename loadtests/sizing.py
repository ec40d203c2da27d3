"""The tables of docs/sizing.md for this machine, in a quarter of an hour:

    python -m loadtests.sizing > sizing.md
    python -m loadtests.sizing --first 16 --trials 4     # a small box, in a hurry

What happens is told on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from loadtests import files, streams
from loadtests.server import server_under_test
from loadtests.streams import SETTINGS, Load, Report

# Precision, chunk, milliseconds of a packet.
STREAM_ROWS = ((1, 8, 100), (1, 8, 20), (1, 16, 100), (2, 8, 100), (4, 8, 100))
SECONDS = 8.0
CLIP_SECONDS = 6.0
BOUND_SECONDS = 0.5
FILE_SECONDS = 300.0
UPLOAD_SECONDS = 15.0
MANY_STREAMS = 100
STREAM_HEAD = """| precision | chunk | packets | streams within the bound | first partial, p50 / p95 | final, p50 / p95 | server CPU seconds per stream second | resident MB |
|---|---|---|---|---|---|---|---|"""  # noqa: E501
FILE_HEAD = """| precision | hours of audio per hour | per hour and core used | resident MB |
|---|---|---|---|"""


def load(bits: int, chunk: int, packet_ms: int, count: int = 0) -> Load:
    return Load(bits, chunk, packet_ms / 1000, count, SECONDS, CLIP_SECONDS, BOUND_SECONDS)


def best_of(reports: list[Report]) -> Report | None:
    return max((report for report in reports if report.within_bound), key=lambda one: one.streams, default=None)


def stream_row(bits: int, chunk: int, packet_ms: int, best: Report | None) -> str:
    head = f"| {bits} bit | {chunk} | {packet_ms} ms |"
    if best is None:
        return f"{head} none of those tried | | | | |"
    return (
        f"{head} {best.streams} | {best.first_partial_p50_ms:.0f} / {best.first_partial_p95_ms:.0f} ms "
        f"| {best.final_p50_ms:.0f} / {best.final_p95_ms:.0f} ms "
        f"| {best.server_cpu_seconds_per_stream_second:.4f} | {best.server_resident_mb:.0f} |"
    )


def measure_streams(first: int, trials: int) -> Iterator[tuple[str, list[Report]]]:
    for bits, chunk, packet_ms in STREAM_ROWS:
        with server_under_test(None, **SETTINGS) as server:
            reports = asyncio.run(streams.search(server, load(bits, chunk, packet_ms), trials, first))
        yield stream_row(bits, chunk, packet_ms, best_of(reports)), reports


def measure_files() -> Iterator[tuple[str, files.Report]]:
    at_once = 2 * len(os.sched_getaffinity(0))
    for bits in (1, 2, 4):
        with server_under_test(None, **SETTINGS) as server:
            report = files.run_files(server, bits, at_once, FILE_SECONDS, UPLOAD_SECONDS)
        row = (
            f"| {bits} bit | {report.audio_hours_per_hour:.0f} | {report.audio_hours_per_cpu_hour:.0f} "
            f"| {report.server_resident_mb:.0f} |"
        )
        yield row, report


def measure_memory() -> tuple[float, Report]:
    """Megabytes of an idle server, and a run with many streams."""
    with server_under_test(None, **SETTINGS) as server:
        idle = server.figures().resident_bytes / 1e6
        return idle, asyncio.run(streams.run_load(server, load(1, 8, 100, MANY_STREAMS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=64, help="number of streams that each search begins with")
    parser.add_argument("--trials", type=int, default=5, help="most runs of each search")
    parser.add_argument("--json", type=Path, help="write every report here")
    options = parser.parse_args()
    out, kept = sys.stdout, []
    with contextlib.redirect_stdout(sys.stderr):
        print(STREAM_HEAD, file=out, flush=True)
        for row, reports in measure_streams(options.first, options.trials):
            print(row, file=out, flush=True)
            kept += [asdict(report) for report in reports]
        print(f"\n{FILE_HEAD}", file=out, flush=True)
        for row, report in measure_files():
            print(row, file=out, flush=True)
            kept.append(asdict(report))
        idle, many = measure_memory()
        kept.append(asdict(many))
        each = (many.server_resident_mb - idle) / many.streams
        print(f"\n| memory | MB |\n|---|---|\n| idle | {idle:.0f} |", file=out)
        print(f"| {many.streams} streams | {many.server_resident_mb:.0f} |\n| each of them | {each:.2f} |", file=out)
        if not many.within_bound:
            print(f"\n{many.streams} streams were too many for the bound; what waited is in their memory.", file=out)
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
