"""Files of evaluation results: every hypothesis of every system, so that tests can be run on them later."""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from onebit_model.errors import ResultFileError

FORMAT = "onebit-results"
VERSION = 1
SYSTEM_FIELDS: dict[str, type] = {
    "name": str,
    "bits": int,
    "chunk": str,
    "model_bytes": int,
    "model_sha256": str,
    "sets": dict,
}
NAME = (str, int)  # numbers as ids are in files of before
UTTERANCE_FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": NAME,
    "speaker": NAME,
    "reference": str,
    "hypothesis": str,
}
JSON_NAMES: dict[type, str] = {list: "a list", dict: "an object"}

Container = TypeVar("Container", list[Any], dict[str, Any])


@dataclass(frozen=True, slots=True)
class ScoredUtterance:
    id: str
    speaker: str
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
    sets: dict[str, list[ScoredUtterance]] = field(default_factory=dict)


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
    try:
        document = json.loads(Path(path).read_bytes().decode())
    except OSError as error:
        raise ResultFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path}: not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ResultFileError(f"{path}: not a file of evaluation results")
    if document.get("version") != VERSION:
        raise ResultFileError(f"{path}: version {document.get('version')} of the results is not known here")
    entries = _filled(document.get("systems"), list, f"{path}: systems")
    return [_system(entry, f"{path}: systems[{index}]") for index, entry in enumerate(entries)]


def _system(entry: object, place: str) -> SystemResult:
    fields = _fields(entry, SystemResult, SYSTEM_FIELDS, place)
    sets = {}
    for name, rows in _filled(fields.get("sets"), dict, f"{place}: sets").items():
        where = f"{place}: set {name!r}"
        sets[name] = [_utterance(row, f"{where}[{i}]") for i, row in enumerate(_filled(rows, list, where))]
    return SystemResult(**{**fields, "sets": sets})


def _utterance(row: object, place: str) -> ScoredUtterance:
    return ScoredUtterance(**_fields(row, ScoredUtterance, UTTERANCE_FIELDS, place))


def _filled(value: object, kind: type[Container], place: str) -> Container:
    if not isinstance(value, kind):
        raise ResultFileError(f"{place}: must be {JSON_NAMES[kind]}, not {reprlib.repr(value)}")
    if not value:
        raise ResultFileError(f"{place}: is empty")
    return value


def _fields(value: object, kind: type[Any], types: Mapping[str, type | tuple[type, ...]], place: str) -> dict[str, Any]:
    """A JSON object with the fields of the dataclass `kind`, those without a default at least, each of its type."""
    values: dict[str, Any] = _filled(value, dict, place)
    for part in dataclasses.fields(kind):
        optional = part.default is not dataclasses.MISSING or part.default_factory is not dataclasses.MISSING
        if part.name not in values and not optional:
            raise ResultFileError(f"{place}: {part.name} is missing")
    for name, item in values.items():
        if name not in types:
            raise ResultFileError(f"{place}: unknown field {name!r}")
        if not isinstance(item, types[name]) or isinstance(item, bool):
            raise ResultFileError(f"{place}: {name} has a value of the wrong type: {reprlib.repr(item)}")
    return values


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
