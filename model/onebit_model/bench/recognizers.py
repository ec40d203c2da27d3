"""Word errors, processor time and memory beside other recognizers of speech on CPUs, on the same clips.

    onebit bench recognizers --whisper base
    onebit bench recognizers --whisper FOLDER

Each recognizer has a process of its own; all hear each clip in turn, so that what else the machine does meets all.
`base` is Whisper base of the PyPI packages (extra `whisper`), FOLDER a model as faster-whisper wants it (CTranslate2).
Packages: faster-whisper, pocketsphinx; what is not installed is left out with a note. docs/benchmarks.md has what came
out.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onebit_model.bench.process_status import PEAK_RESIDENT, status_bytes
from onebit_model.config import PRECISIONS, SAMPLE_RATE
from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_set, reference_sets
from onebit_model.errors import UnknownSetError
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.text.normalization import normalise

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

BASE = "base"
Samples = npt.NDArray[np.float32]
Transcribe = Callable[[Samples], str]


PEER = "faster-whisper, {}, int8, beam 1"  # whose processor time the others are compared with


@dataclass(frozen=True)
class Heard:
    """What one recognizer made of a clip, what that took, and the most memory that it ever held."""

    text: str
    processor_seconds: float
    peak_bytes: int


def onebit(bits: int) -> Transcribe:
    recognizer = Recognizer.load()
    return lambda samples: " ".join(segment.text for segment in recognizer.transcribe(samples, bits))


def whisper(folder: Path, beam: int, threads: int) -> Transcribe:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(samples: Samples) -> str:
        segments, _ = model.transcribe(samples, beam_size=beam, language="en", without_timestamps=True)
        return " ".join(segment.text for segment in segments)

    return transcribe


def pocketsphinx() -> Transcribe:
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def transcribe(samples: Samples) -> str:
        decoder.start_utt()
        decoder.process_raw((samples * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    return transcribe


@contextmanager
def whisper_folder(name: str) -> Iterator[Path]:
    """A folder as faster-whisper wants it; `base` is put together from the installed packages."""
    if name != BASE:
        yield Path(name)
        return
    from onebit_model.network.whisper_file import package_files

    with TemporaryDirectory() as parent:
        folder = Path(parent) / BASE
        folder.mkdir()
        for file in package_files("*"):
            if ".part" not in file.name:
                shutil.copy(file, folder)
        with (folder / "model.bin").open("wb") as joined:
            for part in package_files("model.bin.part*"):
                joined.write(part.read_bytes())
        yield folder


def answer(make: Callable[[], Transcribe], questions: Connection[Heard, Samples | None]) -> None:
    """The work of one process: makes the recognizer, then hears clips until None comes. Loading does not count."""
    transcribe = make()
    while (samples := questions.recv()) is not None:
        begin = time.process_time()
        text = normalise(transcribe(samples))
        questions.send(Heard(text, time.process_time() - begin, status_bytes(PEAK_RESIDENT)))


class Rival:
    """One recognizer in its process."""

    def __init__(self, make: Callable[[], Transcribe]) -> None:
        spawn = get_context("spawn")
        self._questions, theirs = spawn.Pipe()
        self._process = spawn.Process(target=answer, args=(make, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def hear(self, samples: Samples) -> Heard:
        """Raises EOFError when the process is gone."""
        self._questions.send(samples)
        heard: Heard = self._questions.recv()
        return heard

    def leave(self) -> None:
        self._questions.send(None)
        self._process.join()


def recognizers(folder: Path | None, threads: int) -> tuple[dict[str, Callable[[], Transcribe]], list[str]]:
    """Those that can run here, with what makes them inside their process; a line for each that cannot."""
    found: dict[str, Callable[[], Transcribe]] = {f"onebit, {bits} bit": partial(onebit, bits) for bits in PRECISIONS}
    missing = []
    if folder is None or find_spec("faster_whisper") is None:
        missing.append("faster-whisper left out: needs the package and --whisper base or FOLDER")
    else:
        for beam in (1, 5):
            found[f"faster-whisper, {folder.name}, int8, beam {beam}"] = partial(whisper, folder, beam, threads)
    if find_spec("pocketsphinx") is None:
        missing.append("pocketsphinx left out: not installed")
    else:
        found["pocketsphinx"] = pocketsphinx
    return found, missing


@dataclass(frozen=True)
class Clips:
    """Which clips of the shipped reference sets are heard: one in `stride` of those that last so long."""

    stride: int
    shortest_seconds: float = 0.0
    longest_seconds: float = float("inf")

    def read(self) -> list[Utterance]:
        """Raises UnknownSetError where none lasts so long."""
        clips = [clip for name in reference_sets() for clip in read_set(name)]
        fitting = [c for c in clips if self.shortest_seconds <= c.duration_seconds <= self.longest_seconds]
        if not fitting:
            raise UnknownSetError(f"no clip lasts {self.shortest_seconds:g} to {self.longest_seconds:g} seconds")
        return fitting[:: self.stride]


def in_turns(rivals: Mapping[str, Rival], clips: Sequence[Utterance]) -> dict[str, list[Heard]]:
    """What each made of every clip; the first clip is heard once before, and that does not count."""
    heard: dict[str, list[Heard]] = {name: [] for name in rivals}
    for number, clip in enumerate([clips[0], *clips]):
        samples = clip.audio.read()
        for name, rival in rivals.items():
            said = rival.hear(samples)
            if number:
                heard[name].append(said)
    return heard


def table(whisper_name: str | None, clips: Clips, threads: int) -> Iterator[str]:
    """Markdown; `threads` are those of faster-whisper, the others use one."""
    chosen = clips.read()
    seconds = sum(clip.duration_seconds for clip in chosen)
    with whisper_folder(whisper_name) if whisper_name else nullcontext() as folder:
        found, missing = recognizers(folder, threads)
        rivals = {name: Rival(make) for name, make in found.items()}
        heard = in_turns(rivals, chosen)
        for rival in rivals.values():
            rival.leave()
    yield from missing
    yield f"{len(chosen)} clips, {seconds:.0f} seconds"
    peer = heard.get(PEER.format(folder.name)) if folder else None
    yield "| recognizer | word errors % | processor seconds per second of audio | times less | peak resident MB |"
    yield "|---|---|---|---|---|"
    for name, said in heard.items():
        errors = sum(
            (align_texts(clip.text, one.text).counts for clip, one in zip(chosen, said, strict=True)), ErrorCounts()
        )
        cost = sum(one.processor_seconds for one in said) / seconds
        less = "" if peer is None else f"{times_less(peer, said):.1f}"
        yield f"| {name} | {100 * errors.rate:.1f} | {cost:.4f} | {less} | {said[-1].peak_bytes / 1e6:.0f} |"


def times_less(peer: Sequence[Heard], said: Sequence[Heard]) -> float:
    """The median over the clips of the peer's processor time by ours."""
    return float(np.median([a.processor_seconds / b.processor_seconds for a, b in zip(peer, said, strict=True)]))
