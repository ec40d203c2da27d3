"""Whether a result can be written where it was asked for: said before the work, not after it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from onebit_model.errors import OutputPathError

PLOTS = (".svg", ".png")


def check_output(path: Path | None) -> None:
    """Raises OutputPathError where no file can be written."""
    if path is None:
        return
    if path.is_dir():
        raise OutputPathError(f"{path} is a folder")
    if not path.parent.is_dir():
        raise OutputPathError(f"{path.parent}: no such folder")


def check_output_folder(path: Path | None) -> None:
    """The same for a folder, which is made where there is none."""
    for existing in (path, *path.parents) if path else ():
        if existing.exists() and not existing.is_dir():
            raise OutputPathError(f"{existing} is no folder")


def check_plot(path: Path | None) -> None:
    """The same for a plot."""
    if path is None:
        return
    if path.suffix not in PLOTS:
        raise OutputPathError(f"{path}: the name of a plot ends in {' or '.join(PLOTS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise OutputPathError(f"{path}: a plot needs matplotlib (extra plot)")
    check_output(path)
