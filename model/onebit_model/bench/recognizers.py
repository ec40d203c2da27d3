"""Word errors, processor time and memory beside other recognizers of speech on CPUs, on the same clips.

    onebit bench recognizers --whisper FOLDER

Each recognizer hears one clip in many of the shipped reference sets in a process of its own, one clip after the
other. FOLDER holds a Whisper model as faster-whisper wants it (CTranslate2); its numerals are suppressed, because the
references spell numbers out. Packages: faster-whisper, pocketsphinx; what is not installed is left out with a note.
docs/benchmarks.md has what came out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onebit_model.bench.process_status import PEAK_RESIDENT, status_bytes
from onebit_model.config import PRECISIONS, SAMPLE_RATE
from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_set, reference_sets
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.text.normalization import normalise

Samples = npt.NDArray[np.float32]
Transcribe = Callable[[Samples], str]


@dataclass(frozen=True)
class Heard:
    """What one recognizer made of the clips, and what that took."""

    texts: list[str]
    processor_seconds: float
    audio_seconds: float
    peak_bytes: int

    @property
    def processor_seconds_per_second(self) -> float:
        return self.processor_seconds / self.audio_seconds


def onebit(bits: int) -> Transcribe:
    recognizer = Recognizer.load()
    return lambda samples: " ".join(segment.text for segment in recognizer.transcribe(samples, bits))


def whisper(folder: Path, beam: int, threads: int) -> Transcribe:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    pieces: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    numerals = [token for piece, token in pieces.items() if any(character.isdigit() for character in piece)]
    options: dict[str, Any] = {"beam_size": beam, "language": "en", "suppress_tokens": [-1, *numerals]}

    def transcribe(samples: Samples) -> str:
        segments, _ = model.transcribe(samples, without_timestamps=True, **options)
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


def hear(make: Callable[[], Transcribe], clips: Sequence[Utterance]) -> Heard:
    """In this process; the model's loading and the first clip, heard once before, do not count."""
    transcribe = make()
    audio = [clip.audio.read() for clip in clips]
    transcribe(audio[0])
    begin = time.process_time()
    texts = [normalise(transcribe(samples)) for samples in audio]
    used = time.process_time() - begin
    return Heard(texts, used, sum(map(len, audio)) / SAMPLE_RATE, status_bytes(PEAK_RESIDENT))


def recognizers(whisper_folder: Path | None, threads: int) -> tuple[dict[str, Callable[[], Transcribe]], list[str]]:
    """Those that can run here, with what makes them inside their process; a line for each that cannot."""
    found: dict[str, Callable[[], Transcribe]] = {f"onebit, {bits} bit": partial(onebit, bits) for bits in PRECISIONS}
    missing = []
    if whisper_folder is None or find_spec("faster_whisper") is None:
        missing.append("faster-whisper left out: needs the package and --whisper FOLDER")
    else:
        for beam in (1, 5):
            name = f"faster-whisper, {whisper_folder.name}, int8, beam {beam}"
            found[name] = partial(whisper, whisper_folder, beam, threads)
    if find_spec("pocketsphinx") is None:
        missing.append("pocketsphinx left out: not installed")
    else:
        found["pocketsphinx"] = pocketsphinx
    return found, missing


def table(whisper_folder: Path | None, stride: int, threads: int) -> Iterator[str]:
    """Markdown, row by row; `threads` are those of faster-whisper, the others use one."""
    clips = [clip for name in reference_sets() for clip in read_set(name)[::stride]]
    found, missing = recognizers(whisper_folder, threads)
    yield from missing
    yield "| recognizer | word errors % | processor seconds per second of audio | peak resident MB |"
    yield "|---|---|---|---|"
    for name, make in found.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            heard = process.submit(hear, make, clips).result()
        counts = [align_texts(clip.text, text).counts for clip, text in zip(clips, heard.texts, strict=True)]
        errors = sum(counts, ErrorCounts())
        cost = heard.processor_seconds_per_second
        yield f"| {name} | {100 * errors.rate:.1f} | {cost:.4f} | {heard.peak_bytes / 1e6:.0f} |"
