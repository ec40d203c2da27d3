"""Opens audio that is still arriving: which container it is decides how a decoder gets to see the bytes.

* libsndfile through a pipe: formats whose header comes first and that it reads forwards (WAV, AIFF, AU, Ogg, MP3);
* libsndfile through a window: FLAC, whose decoder wants to step back a few bytes while it opens;
* libsndfile on a temporary file: formats whose header may refer to later parts of the file, once everything is there;
* ffmpeg on a temporary file: containers that libsndfile does not know, and whatever it cannot open.

What was sent may be several files end to end. Each is a part, with a decoder of its own.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import soundfile

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.edit_list import PausedReader, take_out_pauses
from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.joints import JoinedPart
from onebit_model.audio.mpeg_audio import ID3_HEADER_BYTES, MpegPart, first_frame, id3_tag_bytes
from onebit_model.audio.ogg import OggPart
from onebit_model.audio.sound_file import (
    COPY_BYTES,
    ByteSource,
    FlacWindow,
    ForwardFile,
    Pipe,
    Replay,
    SampleReader,
    SoundFileReader,
    UnreadableError,
    opened,
)
from onebit_model.errors import MissingAudioError, UnsupportedMediaError

HEAD_BYTES = 4096
# libsndfile finds MP3 in a pipe only behind a tag.
EMPTY_ID3_TAG = b"ID3\x04\0\0\0\0\0\x10" + bytes(16)
# What decoders leave of a part they have read: tags and padding, beyond this it is sound.
LEFT_BYTES = 4096
UNREADABLE = "the audio cannot be read: its header is damaged, or its codec needs ffmpeg, which is not installed"
PIPED_WAV_CODECS = {0x0001, 0x0003, 0x0006, 0x0007, 0x0002, 0x0011, 0xFFFE}
WHOLE_FILE_MAGIC = (
    b"RF64", b"caff", b"riff", b"NIST", b"Crea", b" paf", b"fap ", b"PVF1", b"2BIT", b"FORM", b"RIFF", b"RIFX",
    b"MATL", b"\xf0\x7e", b"\x01\x04", b"ALaw", b"Exte", b"\x64\xa3", b"\0\0\xa3\x64",
    b"\0\0\x03\xe8", b"\0\0\x03\xea", b"\0\0\0\0\x01\0\0\0",
)  # fmt: skip
MAGIC = {
    b"OggS": "ogg", b"fLaC": "flac", b".snd": "au", b"dns.": "au",
    b"\x1a\x45\xdf\xa3": "matroska", b"\x30\x26\xb2\x75": "asf", b"#!AMR": "amr", b"FLV\x01": "flv",
    b"\0\0\x01\xba": "mpeg", b"\x0b\x77": "ac3", b".RMF": "rm", b"wvpk": "wv", b"MAC ": "ape", b"TTA1": "tta",
}  # fmt: skip
FORMAT_NAMES = {
    "mov": "MP4", "matroska": "WebM or Matroska", "asf": "WMA", "amr": "AMR", "flv": "FLV", "avi": "AVI", "aac": "AAC",
    "ogg": "Ogg with neither Opus nor Vorbis",
    "mpeg": "MPEG video", "mpegts": "MPEG-TS", "ac3": "AC-3", "rm": "RealMedia", "wv": "WavPack", "tta": "TTA",
    "ape": "Monkey's Audio",
}  # fmt: skip
# Pictures, documents and archives: nothing that ffmpeg should be shown.
OTHER_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF", b"PK\3\4", b"\x7fELF", b"\x1f\x8b", b"7z\xbc\xaf", b"BZh")
TS_PACKET_BYTES, TS_SYNC = 188, 0x47


@dataclass(frozen=True)
class Ending:
    """What is known of a part when all of it has been read: warnings, and the silence before the next part."""

    warnings: set[str]
    hole_seconds: float = 0.0


@dataclass(frozen=True)
class Part:
    """`at_end` is called once, with the seconds that were read; it raises what went wrong. `start_seconds`: when the
    part begins on its container's clock; known when the first block was read."""

    reader: SampleReader
    at_end: Callable[[float], Ending]
    start_seconds: Callable[[], float] = lambda: 0.0


def parts(feed: ByteFeed, ffmpeg: Ffmpeg | None, warnings: set[str]) -> Generator[Part]:
    """The files that were joined to what arrives; the first one has to be audio. Each is closed when the next is asked
    for. Adds "incomplete" to the warnings where something behind the first one cannot be read."""
    head = _head_after_tags(feed)
    if not head:
        raise MissingAudioError("there is no audio")
    with ExitStack() as stack:
        yield _Opening(stack, feed, ffmpeg).part(_kind(head), head)
    while (head := _head_after_tags(feed)) and (kind := _kind(head)) is not None:
        with ExitStack() as stack:
            opening = _Opening(stack, feed, ffmpeg)
            try:
                part = opening.part(kind, head)
            except UnsupportedMediaError:
                opening.skip()
                warnings.add("incomplete")
            else:
                yield part
    left_bytes = 0
    while data := feed.read(COPY_BYTES):
        left_bytes += len(data.strip(b"\0"))
    if left_bytes > LEFT_BYTES:
        warnings.add("incomplete")


def _kind(head: bytes) -> str | None:
    """How the container is read; None where nothing is known of it."""
    kinds = {
        "wav": head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE" and _wav_codec(head) in PIPED_WAV_CODECS,
        "aiff": head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC") and b"COMM" in head,
        "avi": head[:4] == b"RIFF" and head[8:12] == b"AVI ",
        "mov": head[4:8] == b"ftyp",
        "aac": len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0,
        "mpegts": len(head) > TS_PACKET_BYTES and set(head[: 8 * TS_PACKET_BYTES : TS_PACKET_BYTES]) == {TS_SYNC},
        "whole": head.startswith(WHOLE_FILE_MAGIC),
    }
    magic = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    known = next((kind for kind, matches in kinds.items() if matches), magic)
    return known or ("mpeg audio" if first_frame(head) is not None else None)


def _is_text(head: bytes) -> bool:
    """Playlists and pages, which are no audio whatever they speak of."""
    return not re.search(rb"[^\t\n\f\r\x1b -~\x80-\xff]", head)


class _Opening:
    """Ways to open the part that the feed goes on with; what they need is closed with the stack."""

    def __init__(self, stack: ExitStack, feed: ByteFeed, ffmpeg: Ffmpeg | None) -> None:
        self._stack = stack
        self._feed = feed
        self._ffmpeg = ffmpeg
        self._source: ByteSource | None = None

    def part(self, kind: str | None, head: bytes) -> Part:
        """Raises UnsupportedMediaError."""
        openers = {"ogg": self.ogg, "mpeg audio": self.mpeg, "flac": self.flac}
        if kind in openers:
            return openers[kind]()
        if kind in ("wav", "aiff", "au"):
            return self.piped_file(kind, head)
        if kind == "whole":
            return self.whole_file(head)
        if kind is None and (_is_text(head) or head.startswith(OTHER_MAGIC)):
            raise UnsupportedMediaError("the data is not audio of a known format")
        return self.for_ffmpeg(self._joined(kind), kind)

    def skip(self) -> None:
        """Takes the rest of a part that could not be opened."""
        while self._source is not None and self._source.read(COPY_BYTES):
            pass

    def _joined(self, kind: str | None) -> JoinedPart:
        self._source = source = JoinedPart(self._feed, kind)
        return source

    def ogg(self) -> Part:
        self._source = source = OggPart(self._feed)
        if source.clock is None:
            return self.for_ffmpeg(source, "ogg")

        def ending(reader: SoundFileReader, left_bytes: int) -> Ending:
            warnings = {"other_tracks"} if source.has_other_sounds else set()
            warnings |= _warnings(reader.is_cut or source.is_cut, left_bytes + source.lost_bytes > LEFT_BYTES)
            return Ending(warnings, source.hole_seconds)

        return self._piped(source, "ogg", ending, lambda: source.start_seconds)

    def mpeg(self) -> Part:
        self._source = source = MpegPart(self._feed)

        def ending(reader: SoundFileReader, left_bytes: int) -> Ending:
            is_incomplete = left_bytes > LEFT_BYTES or source.is_incomplete
            return Ending(_warnings(reader.is_cut or source.is_cut, is_incomplete))

        return self._piped(Replay(EMPTY_ID3_TAG, source), "mp3", ending)

    def piped_file(self, kind: str, head: bytes) -> Part:
        source = self._joined(kind)

        def ending(reader: SoundFileReader, left_bytes: int) -> Ending:
            excess_bytes = source.bytes - _announced_bytes(head)
            return Ending(_warnings(reader.is_cut, min(left_bytes, excess_bytes) > LEFT_BYTES))

        return self._piped(Replay(_with_open_end(_beginning(source)), source), kind, ending)

    def flac(self) -> Part:
        window = FlacWindow(self._joined("flac"))
        try:
            reader = opened(ForwardFile, window)
        except UnreadableError:
            return self._without_libsndfile(window.replay(), "flac")
        return Part(reader, lambda _: Ending(_warnings(reader.is_cut, window.drain() > LEFT_BYTES)))

    def whole_file(self, head: bytes) -> Part:
        kind = {b"caff": "caf", b"riff": "w64"}.get(head[:4])
        file = self._spooled(self._joined(kind))
        is_cut = os.fstat(file.fileno()).st_size < _announced_bytes(head)
        if kind == "caf":
            is_cut = _shorten_caf(file)
        try:
            reader = opened(soundfile.SoundFile, file)
        except UnreadableError:
            return self._decoded(file, kind)
        return Part(reader, lambda _: Ending(_warnings(reader.is_cut or is_cut, False)))

    def for_ffmpeg(self, source: ByteSource, kind: str | None) -> Part:
        """Looks for ffmpeg before everything is received in vain."""
        if self._ffmpeg is None or self._ffmpeg.program is None:
            name = FORMAT_NAMES.get(kind or "", kind)
            raise UnsupportedMediaError(
                f"{name} needs ffmpeg, which is not installed where it would be decoded"
                if name
                else "the data is not audio of a known format (with ffmpeg installed, more formats are known)"
            )
        return self._decoded(self._spooled(source), kind)

    def _piped(
        self,
        source: ByteSource,
        kind: str,
        ending: Callable[[SoundFileReader, int], Ending],
        start_seconds: Callable[[], float] = lambda: 0.0,
    ) -> Part:
        pipe = self._stack.enter_context(Pipe(source, self._feed))
        try:
            reader = opened(ForwardFile, pipe.read_end)
        except UnreadableError:
            return self._without_libsndfile(pipe.replay(), kind)
        pipe.pump.forget_beginning()
        return Part(reader, lambda _: ending(reader, pipe.drain()), start_seconds)

    def _without_libsndfile(self, source: ByteSource | None, kind: str) -> Part:
        if source is None or self._ffmpeg is None or self._ffmpeg.program is None:
            raise UnsupportedMediaError(UNREADABLE)
        return self._decoded(self._spooled(source), kind)

    def _spooled(self, source: ByteSource) -> IO[bytes]:
        file: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile(prefix="onebit-"))  # noqa: SIM115
        while data := source.read(COPY_BYTES):
            file.write(data)
        file.flush()
        file.seek(0)
        return file

    def _decoded(self, file: IO[bytes], kind: str | None) -> Part:
        if self._ffmpeg is None or self._ffmpeg.program is None:
            raise UnsupportedMediaError(UNREADABLE)
        pauses = take_out_pauses(file) if kind == "mov" else []
        decoded = self._stack.enter_context(self._ffmpeg.decode(file, kind))
        self._feed.when_aborted(decoded.stop)
        try:
            reader = opened(ForwardFile, decoded.output, length_is_known=False)
        except UnreadableError:
            decoded.at_end(seconds=0.0)
            raise UnsupportedMediaError("the file has no sound") from None
        paused = PausedReader(reader, pauses, decoded.start_seconds()) if pauses else reader
        return Part(paused, lambda seconds: Ending(decoded.at_end(seconds)), decoded.start_seconds)


def _warnings(is_cut: bool, is_incomplete: bool) -> set[str]:
    return ({"truncated"} if is_cut else set()) | ({"incomplete"} if is_incomplete else set())


def _head_after_tags(feed: ByteFeed) -> bytes:
    """ID3 tags can hold pictures of any size, which libsndfile does not skip in a pipe."""
    while (head := feed.peek(HEAD_BYTES)).startswith(b"ID3") and len(head) >= ID3_HEADER_BYTES:
        rest = id3_tag_bytes(head)
        while rest and (data := feed.read(rest)):
            rest -= len(data)
    return head


def _beginning(source: ByteSource) -> bytes:
    data = b""
    while len(data) < HEAD_BYTES and (more := source.read(HEAD_BYTES - len(data))):
        data += more
    return data


def _announced_bytes(head: bytes) -> int:
    """How long the file is by its header; 0 where the format does not say. libsndfile believes what is there."""
    if head[:4] == b"RF64" and head[12:16] == b"ds64":
        return int.from_bytes(head[20:28], "little") + 8
    if head[:4] == b"riff":
        return int.from_bytes(head[16:24], "little")
    if head[:4] == b"NIST":
        fields = {
            name: int(value)
            for name, value in re.findall(rb"(sample_count|channel_count|sample_n_bytes) -i (\d+)", head)
        }
        return 1024 + math.prod(fields.values()) if len(fields) == 3 else 0
    if head[:4] == b"Crea":
        # The first block of a VOC file; the three bytes after its type are its length.
        start = int.from_bytes(head[20:22], "little")
        return start + 4 + int.from_bytes(head[start + 1 : start + 4], "little")
    if head[:4] in (b"RIFF", b"RIFX", b"FORM"):
        return int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big") + 8
    return 0


def _shorten_caf(file: IO[bytes]) -> bool:
    """Was it cut off? libsndfile opens it only if its data chunk promises no more than is there (-1: all the rest)."""
    length, start = os.fstat(file.fileno()).st_size, 8
    while len(chunk := os.pread(file.fileno(), 12, start)) == 12:
        size = int.from_bytes(chunk[4:], "big", signed=True)
        if chunk[:4] == b"data" and size != -1 and start + 12 + size > length:
            os.pwrite(file.fileno(), (length - start - 12).to_bytes(8, "big"), start + 4)
            return True
        if size < 0:
            break
        start += 12 + size
    return False


def _wav_codec(head: bytes) -> int:
    start = head.find(b"fmt ")
    if start < 0:
        return -1
    return int.from_bytes(head[start + 8 : start + 10], "little" if head.startswith(b"RIFF") else "big")


def _with_open_end(head: bytes) -> bytes:
    """Programs that write WAV into a pipe leave 0 or 0xFFFFFFFF as length, and libsndfile takes 0 at its word."""
    start = head.find(b"data")
    if head[:4] != b"RIFF" or start < 0 or head[start + 4 : start + 8] != bytes(4) or len(head) == start + 8:
        return head
    return head[: start + 4] + b"\xff\xff\xff\xff" + head[start + 8 :]
