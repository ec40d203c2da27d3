"""Files of evaluation results: every hypothesis of every system, so that tests can be run on them later."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from onebit_model.errors import ResultFileError
from onebit_model.files.tables import Name, NotEmpty, read_json, table_from

FORMAT = "onebit-results"
VERSION = 1


@dataclass(frozen=True, slots=True)
class ScoredUtterance:
    id: Name
    speaker: Name
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class SystemResult:
    """One system (a model at one precision and chunk setting) on some sets; `bits` is 32 for full precision."""

    name: str
    bits: int
    chunk: str
    model_bytes: int
    model_sha256: str = ""
    sets: Annotated[dict[str, Annotated[list[ScoredUtterance], NotEmpty]], NotEmpty] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultDocument:
    """A whole file; the summary is for people and is not read again."""

    format: str
    version: int
    systems: Annotated[list[SystemResult], NotEmpty]
    summary: object = None


def write_results(path: str | Path, systems: Sequence[SystemResult], summary: object = None) -> None:
    document = {
        "format": FORMAT,
        "version": VERSION,
        "summary": summary,
        "systems": [dataclasses.asdict(system) for system in systems],
    }
    Path(path).write_text(json.dumps(finite(document), indent=1, ensure_ascii=False) + "\n")


def finite(value: object) -> object:
    """For JSON, which knows no infinity: rates without bound become null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def common_sets(systems: Sequence[SystemResult]) -> list[SystemResult]:
    """The systems, reduced to the sets that all of them were scored on."""
    common = [name for name in systems[0].sets if all(name in system.sets for system in systems)]
    if not common:
        raise ResultFileError("these systems were scored on no common set")
    return [dataclasses.replace(system, sets={name: system.sets[name] for name in common}) for system in systems]


def read_results(path: str | Path) -> list[SystemResult]:
    """Systems of a file that `write_results` wrote; raises ResultFileError, which names the file and the place."""
    document = read_json(Path(path), ResultFileError)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ResultFileError(f"{path}: not a file of evaluation results")
    if document.get("version") != VERSION:
        raise ResultFileError(f"{path}: version {document.get('version')} of the results is not known here")
    return table_from(document, ResultDocument, str(path), ResultFileError).systems


def find_systems(path_and_name: str) -> list[SystemResult]:
    """All systems of FILE, or with FILE:NAME the one of that name."""
    if not path_and_name:
        raise ResultFileError("an empty name '' where a file of results must be named: FILE or FILE:SYSTEM")
    path, _, name = path_and_name.rpartition(":")
    if not path or Path(path_and_name).exists():
        return read_results(path_and_name)
    systems = read_results(path)
    chosen = [system for system in systems if system.name == name]
    if not chosen:
        names = ", ".join(system.name for system in systems)
        raise ResultFileError(f"{path} holds no system {name!r}, but {names}")
    return chosen


def find_system(path_and_name: str) -> SystemResult:
    """The only system of FILE, or with FILE:NAME the one of that name."""
    systems = find_systems(path_and_name)
    if len(systems) != 1:
        names = ", ".join(system.name for system in systems)
        raise ResultFileError(f"{path_and_name} holds {len(systems)} systems; name one as FILE:NAME out of {names}")
    return systems[0]
