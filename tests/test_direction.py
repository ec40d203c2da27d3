"""Imports go one way: from package to package, from floor to floor inside a package, never in a circle."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# Each package imports only those after it.
SOURCES = {"onebit_service": "service", "onebit_model": "model", "onebit_kernels": "kernels"}
# Each line imports only lines below it; what stands on one line does not import each other.
FLOORS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "onebit_service": (
        ("__main__",),
        ("commands",),
        ("server", "client"),
        ("routes",),
        ("service",),
        ("scheduling",),
        ("security", "metrics", "tracing", "logs"),
        ("settings",),
        ("errors",),
        ("__init__",),
    ),
    "onebit_model": (
        ("bench",),
        ("training",),
        ("evaluation",),
        ("data",),
        ("recognition",),
        ("network",),
        ("text",),
        ("audio",),
        ("files",),
        ("config",),
        ("errors",),
        ("__init__",),
    ),
    "onebit_kernels": (("bench",), ("__init__",), ("_core",)),
}


@dataclass(frozen=True)
class Import:
    """One imported module: `importer` and `imported` are dotted names, `line` counts from 1."""

    file: Path
    line: int
    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} may not import {self.imported}"


def read_imports(folder: Path, package: str) -> Iterator[Import]:
    """Every import of the package's modules, those inside functions and for type checkers included."""
    for file in sorted((folder / package).rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        importer = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.walk(ast.parse(file.read_text())):
            for imported in imported_modules(node, folder):
                yield Import(file.relative_to(folder.parent), getattr(node, "lineno", 0), importer, imported)


def imported_modules(node: ast.AST, folder: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"line {node.lineno}: imports are written in full, without leading dots"
    module = node.module or ""
    return sorted({submodule if is_module(submodule, folder) else module for submodule in submodules(module, node)})


def submodules(module: str, node: ast.ImportFrom) -> list[str]:
    return [f"{module}.{alias.name}" for alias in node.names]


def is_module(name: str, folder: Path) -> bool:
    path = folder.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or path.with_suffix(".pyi").exists()


def floor_of(module: str, floors: Sequence[tuple[str, ...]]) -> tuple[int, str]:
    """The floor's number, from the top, and the name of the module's place on it."""
    place = (*module.split("."), "__init__")[1]
    for number, names in enumerate(floors):
        if place in names:
            return number, place
    pytest.fail(f"{module} has no floor yet: give {place!r} its line in FLOORS")


def goes_up(arrow: Import, floors: Mapping[str, Sequence[tuple[str, ...]]] = FLOORS) -> bool:
    importer, imported = arrow.importer.split(".")[0], arrow.imported.split(".")[0]
    if imported not in floors:
        return False
    if importer != imported:
        packages = list(floors)
        return packages.index(importer) > packages.index(imported)
    (above, place), (below, other) = (floor_of(module, floors[importer]) for module in (arrow.importer, arrow.imported))
    return above > below or (above == below and place != other)


def circle_of(arrows: Iterable[Import]) -> list[str]:
    """Modules that import each other in a circle; empty if there are none."""
    graph: dict[str, set[str]] = {}
    for arrow in arrows:
        graph.setdefault(arrow.importer, set()).add(arrow.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", FLOORS)
def test_imports_go_down(package: str) -> None:
    wrong = [arrow for arrow in read_imports(REPOSITORY / SOURCES[package], package) if goes_up(arrow)]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("package", FLOORS)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert circle_of(read_imports(REPOSITORY / SOURCES[package], package)) == []


@pytest.mark.parametrize("package", FLOORS)
def test_every_floor_of_the_table_exists(package: str) -> None:
    folder = REPOSITORY / SOURCES[package] / package
    places = {place for floor in FLOORS[package] for place in floor}
    assert all(is_module(place, folder) for place in places)


def test_the_kernels_need_numpy_alone() -> None:
    known = sys.stdlib_module_names | {"numpy", "onebit_kernels"}
    arrows = read_imports(REPOSITORY / "kernels", "onebit_kernels")
    foreign = [
        arrow for arrow in arrows if ".bench" not in arrow.importer and arrow.imported.split(".")[0] not in known
    ]
    assert not foreign, "\n".join(map(str, foreign))


def test_an_import_that_goes_up_is_named_with_its_line(tmp_path: Path) -> None:
    upper, lower = tmp_path / "house" / "roof", tmp_path / "house" / "cellar"
    for folder in (upper, lower):
        folder.mkdir(parents=True)
    (upper / "tiles.py").write_text("from house.cellar import wine\n")
    (lower / "wine.py").write_text("def taste():\n    from house.roof.tiles import TILES\n    return TILES\n")
    floors = {"house": (("roof",), ("cellar",))}
    wrong = [str(arrow) for arrow in read_imports(tmp_path, "house") if goes_up(arrow, floors)]
    assert wrong == [f"{tmp_path.name}/house/cellar/wine.py:2: house.cellar.wine may not import house.roof.tiles"]
    assert set(circle_of(read_imports(tmp_path, "house"))) == {"house.cellar.wine", "house.roof.tiles"}
