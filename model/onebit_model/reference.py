"""The labelled sets that ship with the package, and any other set named by its path."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from onebit_model.corpora import Utterance, read_manifests
from onebit_model.errors import UnknownSetError

ROOT = Path(__file__).parent / "reference"


def reference_sets() -> tuple[str, ...]:
    """Names of the sets that ship with the package."""
    return tuple(sorted(path.name for path in ROOT.iterdir() if path.is_dir()))


def set_name(name_or_path: str) -> str:
    """The name under which results of a set are reported."""
    return name_or_path if name_or_path in reference_sets() else Path(name_or_path).stem


def read_set(name_or_path: str) -> list[Utterance]:
    """Utterances of a shipped set, of a manifest (JSON lines), or of every manifest in a folder."""
    path = ROOT / name_or_path if name_or_path in reference_sets() else Path(name_or_path)
    if not path.exists() or (path.is_dir() and not any(path.glob("*.jsonl"))):
        names = ", ".join(reference_sets())
        raise UnknownSetError(f"no set {name_or_path!r}: neither one of {names} nor a manifest or folder of manifests")
    try:
        utterances = list(read_manifests(path))
    except (OSError, KeyError, tarfile.TarError, json.JSONDecodeError) as error:
        raise UnknownSetError(f"{path}: cannot be read as a set ({type(error).__name__}: {error})") from error
    if not utterances:
        raise UnknownSetError(f"{path}: the set is empty")
    return utterances
