"""Speech corpora in the layouts that they are published in, read into one list of utterances."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from onebit_model.features import MAX_SEGMENT_SAMPLES, SAMPLE_RATE


@dataclass(frozen=True)
class AudioSpan:
    """Where an utterance's audio lies: a whole file, a byte range (member of a tar), or a time span of it."""

    path: Path
    offset_bytes: int = 0
    size_bytes: int | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    channel: int = 0

    def read(self) -> NDArray[np.float32]:
        """(samples,) float32 at 16 kHz; raises soundfile.LibsndfileError for what is not audio."""
        with soundfile.SoundFile(self._open()) as audio:
            rate = audio.samplerate
            audio.seek(round(self.start_seconds * rate))
            end = audio.frames if self.end_seconds is None else round(self.end_seconds * rate)
            samples = audio.read(end - audio.tell(), dtype="float32", always_2d=True)[:, self.channel]
        if rate != SAMPLE_RATE:
            samples = soxr.resample(samples, rate, SAMPLE_RATE)
        return np.ascontiguousarray(samples, np.float32)

    def _open(self) -> Path | io.BytesIO:
        if self.size_bytes is None:
            return self.path
        with self.path.open("rb") as archive:
            archive.seek(self.offset_bytes)
            return io.BytesIO(archive.read(self.size_bytes))


@dataclass(frozen=True)
class Utterance:
    """One labelled clip; `labels` is human, machine or synthetic."""

    id: str
    corpus: str
    speaker: str
    text: str
    duration_seconds: float
    audio: AudioSpan
    labels: str = "human"
    teacher_logprob: float = 0.0


def read_corpus(path: Path, layout: str) -> list[Utterance]:
    """Utterances of the corpus at `path`; layouts: manifest, librispeech, switchboard.

    Raises ValueError for an unknown layout, FileNotFoundError for a missing corpus.
    """
    readers = {"manifest": read_manifests, "librispeech": read_librispeech, "switchboard": read_switchboard}
    if layout not in readers:
        raise ValueError(f"unknown corpus layout {layout!r}: use one of {', '.join(readers)}")
    if not path.exists():
        raise FileNotFoundError(f"corpus not found: {path}")
    limit = MAX_SEGMENT_SAMPLES / SAMPLE_RATE
    return [u for u in readers[layout](path) if 0 < u.duration_seconds <= limit and u.text]


def read_manifests(path: Path) -> Iterator[Utterance]:
    """A JSON-lines manifest, or every one in a folder; audio in tar archives or files beside it.

    Fields: id, text, duration; `archive` (tar with member <id>.<suffix>) or `audio` (relative path);
    optional speaker, labels, teacher_logprob.
    """
    for manifest in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        archives: dict[str, dict[str, AudioSpan]] = {}
        for line in manifest.read_text().splitlines():
            row = json.loads(line)
            if "archive" in row:
                name = row["archive"]
                if name not in archives:
                    archives[name] = index_archive(manifest.parent / name)
                audio = archives[name][row["id"]]
            else:
                audio = AudioSpan(manifest.parent / row["audio"])
            yield Utterance(
                id=row["id"],
                corpus=manifest.stem,
                speaker=row.get("speaker", row["id"]),
                text=row["text"],
                duration_seconds=row["duration"],
                audio=audio,
                labels=row.get("labels", "human"),
                teacher_logprob=row.get("teacher_logprob", 0.0),
            )


def index_archive(path: Path) -> dict[str, AudioSpan]:
    """Clip id -> its bytes inside an uncompressed tar archive."""
    with tarfile.open(path, "r:") as archive:
        return {
            member.name.rsplit(".", 1)[0]: AudioSpan(path, member.offset_data, member.size)
            for member in archive
            if member.isfile()
        }


def read_librispeech(path: Path) -> Iterator[Utterance]:
    """LibriSpeech: <speaker>/<chapter>/<speaker>-<chapter>.trans.txt beside one flac per utterance."""
    for transcript in sorted(path.rglob("*.trans.txt")):
        for line in transcript.read_text().splitlines():
            name, _, text = line.partition(" ")
            audio = transcript.parent / f"{name}.flac"
            yield Utterance(
                id=name,
                corpus=path.name,
                speaker=name.split("-")[0],
                text=text.lower(),
                duration_seconds=soundfile.info(audio).duration,
                audio=AudioSpan(audio),
            )


def read_switchboard(path: Path) -> Iterator[Utterance]:
    """Switchboard: two-channel sph files beside stm references or the Mississippi State transcripts.

    stm has `file channel speaker start end <label> text`, as Hub5 does; the transcripts, `sw2001A-ms98-a-trans.text`,
    `sw2001A-ms98-a-0002 start end text`, where LDC97S62 calls the recording sw02001.sph.
    """
    recordings = {file.stem.lower(): file for file in sorted(path.rglob("*.sph"))}
    for file in sorted([*path.rglob("*.stm"), *path.rglob("*-trans.text")]):
        segment = _stm_segment if file.suffix == ".stm" else _ms_state_segment
        for line in file.read_text().splitlines():
            if line.strip() and not line.startswith(";;"):
                yield from segment(line, recordings, path.name)


def _stm_segment(line: str, recordings: dict[str, Path], corpus: str) -> Iterator[Utterance]:
    name, channel, speaker, start, end, *words = line.split()
    if words and words[0].startswith("<"):
        words = words[1:]
    span = (recordings[name.lower()], channel, start, end)
    yield from _conversation_segment(f"{name}-{channel}-{start}", speaker, words, span, corpus)


def _ms_state_segment(line: str, recordings: dict[str, Path], corpus: str) -> Iterator[Utterance]:
    name, start, end, *words = line.split()
    conversation, channel = name[2:6], name[6]
    span = (recordings[f"sw0{conversation}"], channel, start, end)
    yield from _conversation_segment(name, name[:7], intended_words(words), span, corpus)


def _conversation_segment(
    name: str, speaker: str, words: list[str], span: tuple[Path, str, str, str], corpus: str
) -> Iterator[Utterance]:
    path, channel, start, end = span
    text = normalise_conversation(words)
    if not text:
        return
    yield Utterance(
        id=name,
        corpus=corpus,
        speaker=speaker,
        text=text,
        duration_seconds=float(end) - float(start),
        audio=AudioSpan(
            path,
            start_seconds=float(start),
            end_seconds=float(end),
            channel={"a": 0, "1": 0, "b": 1, "2": 1}[channel.lower()],
        ),
    )


def intended_words(words: list[str]) -> list[str]:
    """Mississippi State's marks: [laughter-word] and {coinage} are words, [said/meant] is what was meant,
    about_1 is a variant of about, and of tha[t]- only tha was spoken."""
    return [re.sub(r"_\d+$", "", _unmarked(word).strip("{}")) for word in words]


def _unmarked(word: str) -> str:
    if marked := re.fullmatch(r"\[laughter-(.+)\]", word) or re.fullmatch(r"\[[^\]]+/([^\]]+)\]", word):
        return marked[1]
    is_noise = re.fullmatch(r"\[.*\]", word)
    return word if is_noise else re.sub(r"\[[^\]]*\]", "", word)


def normalise_conversation(words: list[str]) -> str:
    """Spoken words only: noises in brackets and restarts' hyphens go, hesitations stay."""
    kept = (w.strip("()-.,?").lower() for w in words if not w.startswith(("[", "{", "<", "(%", "IGNORE")))
    return " ".join(w.replace("-", " ") for w in kept if w and all(c.isalpha() or c in "'-" for c in w))


def select(
    utterances: list[Utterance], corpora: list[str] | None, min_teacher_logprob: float, stride: int = 1
) -> list[Utterance]:
    """Keep the named corpora, machine labels at least so certain, and every `stride`-th clip."""
    kept = [
        u
        for u in utterances
        if (corpora is None or u.corpus in corpora)
        and (u.labels != "machine" or u.teacher_logprob >= min_teacher_logprob)
    ]
    return [replace(u, text=" ".join(u.text.split())) for u in kept[::stride]]
