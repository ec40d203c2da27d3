"""The labelled sets that ship with the package, and any other set named by its path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onebit_model.data.corpora import Utterance, read_manifests
from onebit_model.errors import UnknownSetError
from onebit_model.text.normalization import normalise

ROOT = Path(__file__).parents[1] / "reference_sets"


def reference_sets() -> tuple[str, ...]:
    """Names of the sets that ship with the package."""
    return tuple(sorted(path.name for path in ROOT.iterdir() if path.is_dir()))


def set_name(name_or_path: str) -> str:
    """The name under which results of a set are reported."""
    if name_or_path in reference_sets():
        return name_or_path
    path = Path(name_or_path)
    return path.stem if path.stem.strip(".") else path.resolve().stem


def read_set(name_or_path: str) -> list[Utterance]:
    """Utterances of a shipped set, of a manifest (JSON lines), or of every manifest in a folder.

    Raises UnknownSetError for what is no set, CorpusError for a manifest that cannot be read.
    """
    path = ROOT / name_or_path if name_or_path in reference_sets() else Path(name_or_path)
    if not path.exists() or (path.is_dir() and not any(path.glob("*.jsonl"))):
        names = ", ".join(reference_sets())
        raise UnknownSetError(f"no set {name_or_path!r}: neither one of {names} nor a manifest or folder of manifests")
    utterances = list(read_manifests(path))
    if not utterances:
        raise UnknownSetError(f"{path}: the set is empty")
    for utterance in utterances:
        if not normalise(utterance.text):
            raise UnknownSetError(f"{path}: utterance {utterance.id}: its text has no word to score: remove the line")
    return utterances


def read_sets(names_or_paths: Iterable[str]) -> dict[str, list[Utterance]]:
    """The sets by the names that their results get; raises UnknownSetError where two would get the same one."""
    sources: dict[str, str] = {}
    for given in names_or_paths:
        name = set_name(given)
        other = name if name in reference_sets() and not _is_shipped(given) else sources.setdefault(name, given)
        if not _same_place(given, other):
            raise UnknownSetError(f"{given} and {other}: both would be reported as {name!r}: rename one")
    return {name: read_set(given) for name, given in sources.items()}


def _is_shipped(name_or_path: str) -> bool:
    return name_or_path in reference_sets() or ROOT.resolve() in Path(name_or_path).resolve().parents


def _same_place(one: str, other: str) -> bool:
    return one == other or Path(one).resolve() == Path(other).resolve()
