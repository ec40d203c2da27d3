"""Opens audio that is still arriving: which container it is decides how libsndfile gets to see the bytes.

* through a pipe: formats whose header comes first and that libsndfile reads forwards (WAV, AIFF, AU, Ogg, MP3);
* through a window: FLAC, whose decoder wants to step back a few bytes while it opens;
* through a temporary file: formats whose header may refer to later parts of the file, read once everything is there;
* through ffmpeg (onebit_model.audio.ffmpeg): containers that libsndfile does not know, when ffmpeg is installed.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.ffmpeg import Ffmpeg, ffmpeg_container
from onebit_model.errors import MissingAudioError, UnsupportedMediaError

HEAD_BYTES = 4096
COPY_BYTES = 1 << 16
ID3_HEADER_BYTES = 10
EMPTY_ID3_TAG = b"ID3\x04\0\0\0\0\0\x10" + bytes(16)
UNKNOWN_FRAMES = (1 << 31) - 1
# Read block: small, because libsndfile loses a block in which it meets an error.
BLOCK_FRAMES = 4096
PIPED_WAV_CODECS = {0x0001, 0x0003, 0x0006, 0x0007, 0x0002, 0x0011, 0xFFFE}
WHOLE_FILE_MAGIC = (
    b"RF64", b"caff", b"riff", b"NIST", b"Crea", b" paf", b"fap ", b"PVF1", b"2BIT", b"FORM", b"RIFF", b"RIFX",
    b"MATL", b"\xf0\x7e", b"\x01\x04", b"ALaw", b"Exte", b"\x64\xa3", b"\0\0\xa3\x64",
    b"\0\0\x03\xe8", b"\0\0\x03\xea", b"\0\0\0\0\x01\0\0\0",
)  # fmt: skip

Samples = npt.NDArray[np.float32]


class SampleReader(Protocol):
    """Decoded audio, forwards only."""

    sample_rate: int
    channels: int
    ended_early: bool

    def read(self) -> Samples:
        """The next block, (frames, channels) float32; without frames at the end."""
        ...


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no type hints
    """SoundFile seeks to where it already is after every read; bytes that arrive cannot be sought."""

    def seekable(self) -> bool:
        return False


class SoundFileReader:
    """`at_end` is called once, after the last block: it raises what went wrong and tells whether data is missing."""

    def __init__(self, file: Any, at_end: Callable[[], bool], length_is_known: bool = True) -> None:
        self._file = file
        self._at_end = at_end
        self.sample_rate: int = file.samplerate
        self.channels: int = file.channels
        self.ended_early = False
        self._ended = False
        # libsndfile gives enormous numbers where the header does not tell.
        self._missing_frames: int = file.frames if length_is_known and file.frames <= UNKNOWN_FRAMES else 0

    def read(self) -> Samples:
        block = np.zeros((0, self.channels), np.float32) if self._ended else self._read_block()
        if not len(block) and not self._ended:
            self._ended = True
            self.ended_early = self._at_end() or self._missing_frames > 0
        return block

    def _read_block(self) -> Samples:
        try:
            block: Samples = self._file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            self._missing_frames = UNKNOWN_FRAMES
            return np.zeros((0, self.channels), np.float32)
        self._missing_frames -= len(block)
        return block


class FlacWindow:
    """The file interface of what has arrived: its beginning is kept, so that the decoder can go back to it."""

    LENGTH_BYTES = 1 << 40

    def __init__(self, feed: ByteFeed) -> None:
        self._feed = feed
        self._kept = bytearray()
        self._position = 0
        self._reached = 0
        self.error: BaseException | None = None

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.LENGTH_BYTES}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, target: memoryview) -> int:
        # Called from C, where an exception would only be printed.
        try:
            data = self._read(len(target))
        except BaseException as error:
            self.error = error
            return 0
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, count: int) -> bytes:
        if self.error is not None:
            return b""
        if self._position < len(self._kept):
            return bytes(self._kept[self._position : self._position + count])
        if self._position != self._reached:
            return b""
        data = self._feed.read(count)
        self._reached += len(data)
        if self._reached <= HEAD_BYTES * 16:
            self._kept += data
        return data

    def at_end(self) -> bool:
        if self.error is not None:
            raise self.error
        while self._feed.read(COPY_BYTES):
            pass
        return False


@contextmanager
def open_container(feed: ByteFeed, ffmpeg: Ffmpeg | None) -> Iterator[SampleReader]:
    """Reads as far into the audio as its format can be told from, and gives what decodes the rest."""
    head = _head_after_tags(feed)
    if not head:
        raise MissingAudioError("there is no audio")
    container = ffmpeg_container(head)
    if container is not None:
        if ffmpeg is None:
            raise UnsupportedMediaError(
                f"{container} audio needs ffmpeg, which is not installed where it would be decoded"
            )
        with _temporary_copy(feed) as file, ffmpeg.decode(file, container) as decoded:
            yield _opened(_ForwardFile, decoded.output, decoded.at_end, length_is_known=False)
    elif head.startswith(b"fLaC"):
        window = FlacWindow(feed)
        yield _opened(_ForwardFile, window, window.at_end)
    elif _is_piped(head):
        with _piped(feed, head) as (source, pump):
            yield _opened(_ForwardFile, source, lambda: pump.at_end(source))
    elif head.startswith(WHOLE_FILE_MAGIC):
        with _temporary_copy(feed) as file:
            is_cut = os.fstat(file.fileno()).st_size < _announced_bytes(head)
            if head.startswith(b"caff"):
                is_cut = _shorten_caf(file)
            yield _opened(soundfile.SoundFile, file, lambda: is_cut)
    else:
        raise UnsupportedMediaError("the data is not audio of a known format")


def _head_after_tags(feed: ByteFeed) -> bytes:
    """ID3 tags can hold pictures of any size, which libsndfile does not skip in a pipe."""
    while (head := feed.peek(HEAD_BYTES)).startswith(b"ID3") and len(head) >= ID3_HEADER_BYTES:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        rest = ID3_HEADER_BYTES + size
        while rest and (data := feed.read(rest)):
            rest -= len(data)
    return head


def _opened(kind: Any, source: Any, at_end: Callable[[], bool], length_is_known: bool = True) -> SoundFileReader:
    options = {"closefd": False} if isinstance(source, int) else {}
    try:
        return SoundFileReader(kind(source, **options), at_end, length_is_known)
    except soundfile.LibsndfileError as error:
        at_end()
        raise UnsupportedMediaError(f"the audio cannot be read: {error.error_string}") from error


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


def _is_piped(head: bytes) -> bool:
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return _wav_codec(head) in PIPED_WAV_CODECS
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return b"COMM" in head
    is_mpeg_audio = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0
    return is_mpeg_audio or head.startswith((b".snd", b"dns.", b"OggS"))


def _wav_codec(head: bytes) -> int:
    start = head.find(b"fmt ")
    if start < 0:
        return -1
    return int.from_bytes(head[start + 8 : start + 10], "little" if head.startswith(b"RIFF") else "big")


def _for_pipe(head: bytes) -> bytes:
    """The first bytes as libsndfile understands them through a pipe.

    It finds MP3 there only behind an ID3 tag. Programs that write WAV into a pipe leave 0 or 0xFFFFFFFF as length, and
    libsndfile takes 0 at its word.
    """
    if head[0] == 0xFF:
        return EMPTY_ID3_TAG + head
    start = head.find(b"data")
    if head[:4] != b"RIFF" or start < 0 or head[start + 4 : start + 8] != bytes(4) or len(head) == start + 8:
        return head
    return head[: start + 4] + b"\xff\xff\xff\xff" + head[start + 8 :]


@contextmanager
def _piped(feed: ByteFeed, head: bytes) -> Iterator[tuple[int, _Pump]]:
    read_end, write_end = os.pipe()
    pump = _Pump(feed, write_end, head)
    pump.start()
    try:
        yield read_end, pump
    finally:
        os.close(read_end)
        feed.abandon()
        pump.join()


class _Pump(threading.Thread):
    """Carries a feed into a pipe; ends when either end does."""

    def __init__(self, feed: ByteFeed, write_end: int, head: bytes) -> None:
        super().__init__(name="audio-pump", daemon=True)
        self._feed = feed
        self._write_end = write_end
        self._head = head
        self._error: BaseException | None = None
        self._is_ogg = head.startswith(b"OggS")
        self._tail = b""

    def run(self) -> None:
        with contextlib.suppress(BrokenPipeError), io.FileIO(self._write_end, "wb") as sink:
            try:
                self._carry(sink)
            except BrokenPipeError:
                raise
            except BaseException as error:
                self._error = error

    def _carry(self, sink: io.FileIO) -> None:
        _write_all(sink, _for_pipe(self._head))
        skip_bytes = len(self._head)
        while data := self._feed.read(COPY_BYTES):
            _write_all(sink, data[skip_bytes:])
            skip_bytes = max(0, skip_bytes - len(data))
            if self._is_ogg:
                self._tail = (self._tail + data)[-COPY_BYTES:]

    def at_end(self, read_end: int) -> bool:
        """Takes what the decoder left (trailing tags), so that the whole upload has been read."""
        while os.read(read_end, COPY_BYTES):
            pass
        self.join()
        if self._error is not None:
            raise self._error
        return self._is_ogg and not self._ogg_is_whole()

    def _ogg_is_whole(self) -> bool:
        """The last page of an Ogg stream carries a flag; its absence is the only sign of a missing end."""
        page = self._tail.rfind(b"OggS")
        return page >= 0 and len(self._tail) > page + 5 and bool(self._tail[page + 5] & 4)


def _write_all(sink: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[sink.write(view) or 0 :]


@contextmanager
def _temporary_copy(feed: ByteFeed) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(prefix="onebit-") as file:
        while data := feed.read(COPY_BYTES):
            file.write(data)
        file.flush()
        file.seek(0)
        yield file
