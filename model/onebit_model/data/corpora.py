"""Speech corpora in the layouts that they are published in, read into one list of utterances."""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from onebit_model.config import MAXIMUM_SEGMENT_SECONDS, SAMPLE_RATE
from onebit_model.errors import CorpusError
from onebit_model.files.tables import Name, parse_json, table_from

LONGEST_SHOWN = 40  # characters of a wrong value in a message


@dataclass(frozen=True)
class AudioSpan:
    """Where an utterance's audio lies: a whole file, a byte range (member of a tar), or a time span of it.

    `utterance` is the id that messages name.
    """

    path: Path
    offset_bytes: int = 0
    size_bytes: int | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    channel: int = 0
    utterance: str = ""

    def read(self) -> NDArray[np.float32]:
        """(samples,) float32 at 16 kHz; raises CorpusError for what is missing or not audio."""
        try:
            return self._read()
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror or error}") from error
        except (soundfile.LibsndfileError, IndexError) as error:
            what = f"not audio that can be read ({error})" if self.path.is_file() else "no such file"
            raise self._error(what) from error

    def _error(self, what: str) -> CorpusError:
        return CorpusError(f"{self.path}: " + (f"utterance {self.utterance}: " if self.utterance else "") + what)

    def _read(self) -> NDArray[np.float32]:
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
class Sound:
    """Audio that was made, not recorded: (samples,) float32 at 16 kHz."""

    samples: NDArray[np.float32]

    def read(self) -> NDArray[np.float32]:
        return self.samples


@dataclass(frozen=True)
class Utterance:
    """One labelled clip; `labels` is human, machine or synthetic, `raw` the text as its corpus has it."""

    id: str
    corpus: str
    speaker: str
    text: str
    duration_seconds: float
    audio: AudioSpan | Sound
    labels: str = "human"
    teacher_logprob: float = 0.0
    raw: str = ""


@dataclass(frozen=True)
class ManifestRow:
    """A line of a manifest: where the clip's audio is, and what is said in it."""

    id: Name
    text: str
    duration: float
    archive: str = ""
    audio: str = ""
    speaker: Name | None = None
    labels: str = "human"
    teacher_logprob: float = 0.0
    raw: str = ""

    def __post_init__(self) -> None:
        if not self.archive and not self.audio:
            raise CorpusError("missing: audio, or an archive that holds it")


def read_corpus(path: Path, layout: str) -> list[Utterance]:
    """Utterances of the corpus at `path`; layouts: manifest, librispeech, switchboard.

    Raises CorpusError for an unknown layout, and for a corpus that is missing or cannot be read.
    """
    readers = {"manifest": read_manifests, "librispeech": read_librispeech, "switchboard": read_switchboard}
    if layout not in readers:
        raise CorpusError(f"unknown corpus layout {layout!r}: use one of {', '.join(readers)}")
    if not path.exists():
        raise CorpusError(f"corpus not found: {path}")
    return [u for u in readers[layout](path) if 0 < u.duration_seconds <= MAXIMUM_SEGMENT_SECONDS and u.text]


def read_manifests(path: Path) -> Iterator[Utterance]:
    """A JSON-lines manifest, or every one in a folder; audio in tar archives or files beside it.

    Fields: id, text, duration; `archive` (tar with member <id>.<suffix>) or `audio` (relative path);
    optional speaker, labels, teacher_logprob. Raises CorpusError, which names file and line.
    """
    manifests = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not manifests:
        raise CorpusError(f"{path}: no manifest (*.jsonl) in this folder")
    for manifest in manifests:
        archives: dict[str, dict[str, AudioSpan]] = {}
        for number, line in _numbered_lines(manifest):
            place = f"{manifest}: line {number}"
            row = table_from(parse_json(line, place, CorpusError), ManifestRow, place, CorpusError, more_keys=True)
            try:
                yield _manifest_row(row, manifest, archives)
            except CorpusError as error:
                raise CorpusError(f"{place}: {error}") from error


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path}: line {number}: not UTF-8") from error
        if text:
            yield number, text


def _manifest_row(row: ManifestRow, manifest: Path, archives: dict[str, dict[str, AudioSpan]]) -> Utterance:
    """`archives` keeps the indices of those that were opened before."""
    return Utterance(
        id=row.id,
        corpus=manifest.stem,
        speaker=row.id if row.speaker is None else row.speaker,
        text=row.text,
        duration_seconds=row.duration,
        audio=_manifest_audio(row, manifest.parent, archives),
        labels=row.labels,
        teacher_logprob=row.teacher_logprob,
        raw=row.raw,
    )


def _manifest_audio(row: ManifestRow, folder: Path, archives: dict[str, dict[str, AudioSpan]]) -> AudioSpan:
    if not row.archive:
        return AudioSpan(folder / row.audio, utterance=row.id)
    if row.archive not in archives:
        archives[row.archive] = index_archive(folder / row.archive)
    if row.id not in archives[row.archive]:
        raise CorpusError(f"archive {row.archive} holds no clip {row.id!r}")
    return archives[row.archive][row.id]


def index_archive(path: Path) -> dict[str, AudioSpan]:
    """Clip id -> its bytes inside an uncompressed tar archive; raises CorpusError."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = [member for member in archive if member.isfile()]
    except (OSError, tarfile.TarError) as error:
        raise CorpusError(f"archive {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    names = [member.name.rsplit(".", 1)[0] for member in members]
    return {
        name: AudioSpan(path, member.offset_data, member.size, utterance=name)
        for name, member in zip(names, members, strict=True)
    }


def read_librispeech(path: Path) -> Iterator[Utterance]:
    """LibriSpeech: <speaker>/<chapter>/<speaker>-<chapter>.trans.txt beside one flac per utterance."""
    for transcript in sorted(path.rglob("*.trans.txt")):
        for _, line in _numbered_lines(transcript):
            name, _, text = line.partition(" ")
            audio = transcript.parent / f"{name}.flac"
            yield Utterance(
                id=name,
                corpus=path.name,
                speaker=name.split("-")[0],
                text=text.lower(),
                duration_seconds=_duration_seconds(audio, name),
                audio=AudioSpan(audio, utterance=name),
            )


def _duration_seconds(path: Path, utterance: str) -> float:
    try:
        return float(soundfile.info(path).duration)
    except soundfile.LibsndfileError as error:
        what = f"not audio that can be read ({error})" if path.is_file() else "no such file"
        raise CorpusError(f"{path}: utterance {utterance}: {what}") from error


def read_switchboard(path: Path) -> Iterator[Utterance]:
    """Switchboard: two-channel sph files beside stm references or the Mississippi State transcripts.

    stm has `file channel speaker start end <label> text`, as Hub5 does; the transcripts, `sw2001A-ms98-a-trans.text`,
    `sw2001A-ms98-a-0002 start end text`, where LDC97S62 calls the recording sw02001.sph.
    """
    recordings = {file.stem.lower(): file for file in sorted(path.rglob("*.sph"))}
    for file in sorted([*path.rglob("*.stm"), *path.rglob("*-trans.text")]):
        segment = _stm_segment if file.suffix == ".stm" else _ms_state_segment
        for number, line in _numbered_lines(file):
            if line.startswith(";;"):
                continue
            try:
                utterances = list(segment(line, recordings, path.name))
            except KeyError as error:
                raise CorpusError(f"{file}: line {number}: there is no recording or channel {error}") from error
            except (ValueError, IndexError) as error:
                raise CorpusError(
                    f"{file}: line {number}: not as this layout has it: {line[:LONGEST_SHOWN]}"
                ) from error
            yield from utterances


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
            utterance=name,
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
