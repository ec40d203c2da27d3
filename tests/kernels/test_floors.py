"""The folders of the C++ core are floors: each includes only what stands below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "kernels" / "onebit_kernels" / "src"
FLOORS = ("binding", "engine", "search", "model", "operations", "gemm")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def includes() -> Iterator[tuple[Path, Path]]:
    for source in sorted([*SOURCES.rglob("*.h"), *SOURCES.rglob("*.cpp")]):
        for name in INCLUDE.findall(source.read_text()):
            yield source.relative_to(SOURCES), (source.parent / name).resolve().relative_to(SOURCES)


def test_every_folder_is_a_floor() -> None:
    assert {path.name for path in SOURCES.iterdir()} == set(FLOORS)


def test_nothing_includes_what_stands_above() -> None:
    upwards = [
        f"{source} includes {included}"
        for source, included in includes()
        if FLOORS.index(source.parts[0]) > FLOORS.index(included.parts[0])
    ]
    assert upwards == []


@pytest.mark.parametrize("folder", ["gemm", "operations"])
def test_instruction_sets_are_known_in_their_own_files_only(folder: str) -> None:
    intrinsics = re.compile(r"\b_mm\d*_\w+|\bv\w+q_\w+\(|__asm__")
    foreign = [
        str(path.relative_to(SOURCES))
        for path in (SOURCES / folder).glob("*.*")
        if intrinsics.search(path.read_text()) and path.name != "cpu_features.cpp"
    ]
    assert foreign == []
