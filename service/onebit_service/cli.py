"""The program `onebit`. Imports of each command sit inside it, so that `serve` never loads torch."""

from __future__ import annotations

import typer

app = typer.Typer(help="Speech recognition at 1, 2 and 4 bits.", no_args_is_help=True, pretty_exceptions_enable=False)
