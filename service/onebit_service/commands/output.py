"""What commands tell people: tables, lines, and one line for what their input is at fault for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import typer


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


def show(*parts: object) -> None:
    """Tables fitted to a terminal, but whole where the output goes to a file."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for part in parts:
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


def show_lines(lines: Iterable[str]) -> None:
    """Each as soon as it is known: the next may take minutes."""
    for line in lines:
        print(line, flush=True)
