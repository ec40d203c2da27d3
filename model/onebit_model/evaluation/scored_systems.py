"""Runs systems over sets: the packed file at its precisions through the engine, or a checkpoint through torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from onebit_kernels import Engine
from onebit_model.config import CHUNKS, Chunk, LiveFinals
from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_sets
from onebit_model.errors import UnknownSetError
from onebit_model.evaluation.evaluation import MACRO, POOLED, Transcribe, score
from onebit_model.evaluation.results import SystemResult
from onebit_model.files.tensor_file import file_sha256
from onebit_model.recognition.live import Final, LiveOptions, LiveStream
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.text.decoding import Word, text_of
from onebit_model.text.search import Decoder, Search

FULL_PRECISION_BITS = 32


@dataclass(frozen=True)
class Decoding:
    """How a packed file is run: chunk setting, exact products, language model as in Recognizer, texts of the beam, and
    who answers.

    Without a beam or a decoder it is the search that serves. `live`: as a stream, whose final texts come from what its
    chunks have left of a segment or from the whole of it.
    """

    chunk: str = "segment"
    exact: bool = False
    beam: int | None = None
    language_model: str = ""
    decoder: Decoder | None = None
    live: LiveFinals | None = None


def search_name(search: Search) -> str:
    """What the name of a system says of its search, behind its precision."""
    if search.written is not None:
        return ", attention" if search.written.beam == 1 else f", attention, beam {search.written.beam}"
    if search.beam == 1:
        return ""
    return f", beam {search.beam}" + (", language model" if search.language_model is not None else "")


def score_packed(
    model: str | Path | None,
    sets: Sequence[str],
    bits: Sequence[int],
    decoding: Decoding,
) -> list[SystemResult]:
    """One result per precision (all that the file holds when `bits` is empty), through the engine that serves."""
    utterances = _read_sets(sets)
    recognizer = Recognizer.load(model, language_model=decoding.language_model)
    sha256 = file_sha256(recognizer.path)
    results = []
    search = recognizer.search(decoding.beam, decoder=decoding.decoder)
    for b in bits or recognizer.bits:
        engine = recognizer.engine(b, decoding.exact)
        name = f"{b} bit{search_name(search)}"
        chunk = CHUNKS[decoding.chunk]
        transcribe = _through(recognizer, engine, chunk, search)
        if decoding.live is not None and chunk:
            name += f", live finals by {decoding.live}"
            options = LiveOptions(chunk, False, search=search, second_pass=decoding.live == "segment")
            transcribe = _live_through(recognizer, engine, options)
        result = SystemResult(name, b, decoding.chunk, recognizer.file_bytes_by_bits[b], sha256)
        results.append(_scored(result, utterances, transcribe))
    return results


def score_checkpoint(checkpoint: str | Path, sets: Sequence[str], decoding: Decoding) -> list[SystemResult]:
    """The checkpoint's network at full precision (needs torch); `decoding.exact` changes nothing there."""
    from onebit_model.evaluation.full_precision import SearchChoice, full_precision_model

    utterances = _read_sets(sets)
    choice = SearchChoice(decoding.beam, decoding.language_model, decoding.decoder)
    model = full_precision_model(checkpoint, CHUNKS[decoding.chunk], choice)
    name = f"full precision{search_name(model.search)}"
    result = SystemResult(name, FULL_PRECISION_BITS, decoding.chunk, model.model_bytes, model.sha256)
    return [_scored(result, utterances, model.transcribe)]


def _through(recognizer: Recognizer, engine: Engine, chunk: Chunk, search: Search) -> Transcribe:
    def transcribe(samples: npt.NDArray[np.float32]) -> str:
        segments = recognizer.transcribe_blocks([samples], engine, chunk, search)
        return text_of(word for segment in segments for word in segment.words)

    return transcribe


def _live_through(recognizer: Recognizer, engine: Engine, options: LiveOptions) -> Transcribe:
    desk = recognizer.desk(engine)

    def transcribe(samples: npt.NDArray[np.float32]) -> str:
        stream = LiveStream(desk, options)
        stream.push(samples)
        stream.stop()
        words: list[Word] = []
        while not stream.stopped:
            if stream.prepare():
                engine.step([stream.core])
            if stream.decoding is not None and desk.decoder is not None:
                desk.decoder.step([stream.decoding])
            words += (word for event in stream.advance() if isinstance(event, Final) for word in event.segment.words)
        return text_of(words)

    return transcribe


def _read_sets(names_or_paths: Sequence[str]) -> dict[str, list[Utterance]]:
    sets = read_sets(names_or_paths)
    for taken in (POOLED, MACRO):
        if taken in sets:
            raise UnknownSetError(f"a set cannot be called {taken!r}, which is a row of the table: rename it")
    return sets


def _scored(result: SystemResult, sets: Mapping[str, list[Utterance]], transcribe: Transcribe) -> SystemResult:
    for name, utterances in sets.items():
        with _progress(f"{result.name}, {name}", len(utterances)) as advance:
            result.sets[name] = score(utterances, transcribe, advance)
    return result


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)
