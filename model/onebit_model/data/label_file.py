"""The file of written labels: gzipped JSON lines, the same bytes for the same labels."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from onebit_model.errors import CorpusError
from onebit_model.files.whole_file import whole_file

Labels = Mapping[tuple[str, str], str]
"""(corpus, id of the clip) -> written text"""


def write_labels(path: Path, labels: Labels) -> None:
    """Sorted by corpus and id; raises OSError, which names the path."""
    rows = ({"corpus": corpus, "id": name, "text": text} for (corpus, name), text in sorted(labels.items()))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with whole_file(path) as file:
        file.write(gzip.compress(lines.encode(), mtime=0))


def read_labels(path: Path) -> dict[tuple[str, str], str]:
    """Raises CorpusError for a file that is missing or damaged, lacks a field or has a clip twice."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"the label file cannot be read: {getattr(error, 'strerror', None) or error}") from error
    labels: dict[tuple[str, str], str] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            corpus, name, text = (row[key] for key in ("corpus", "id", "text"))
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(f"the label file's line {number} is no row of corpus, id and text") from error
        if not all(isinstance(value, str) for value in (corpus, name, text)) or (corpus, name) in labels:
            raise CorpusError(f"the label file's line {number} repeats a clip or holds something that is not text")
        labels[corpus, name] = text
    return labels
