"""libsndfile on bytes that are still arriving: through a pipe, through a window, or from a finished file."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from onebit_model.audio.byte_feed import ByteFeed

Samples = npt.NDArray[np.float32]

COPY_BYTES = 1 << 16
# What is kept of the beginning: a decoder may step back to it, or another one may start with it.
KEPT_BYTES = 1 << 18
UNKNOWN_FRAMES = (1 << 31) - 1
# Read block: small, because libsndfile loses a block in which it meets an error.
BLOCK_FRAMES = 4096
MPEG_FRAMES = 1152


class ByteSource(Protocol):
    def read(self, count: int) -> bytes:
        """At least one and at most `count` bytes; none at the end."""
        ...


class SampleReader(Protocol):
    """Decoded audio, forwards only."""

    sample_rate: int
    channels: int

    def read(self) -> Samples:
        """The next block, (frames, channels) float32; without frames at the end."""
        ...


class UnreadableError(Exception):
    """libsndfile cannot open it."""


class ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no type hints
    """SoundFile seeks to where it already is after every read; bytes that arrive cannot be sought."""

    def seekable(self) -> bool:
        return False


class SoundFileReader:
    """Decoded audio, forwards only. `is_cut`: data that the header promised did not come."""

    def __init__(self, file: Any, length_is_known: bool = True) -> None:
        self._file = file
        # What stands behind its end would be an error in its last block.
        self._ends_by_header = file.format == "FLAC" and 0 < file.frames <= UNKNOWN_FRAMES
        self.sample_rate: int = file.samplerate
        self.channels: int = file.channels
        # libsndfile gives enormous numbers where the header does not tell.
        self._missing_frames: int = file.frames if length_is_known and file.frames <= UNKNOWN_FRAMES else 0
        # MP3 in WAV: whole frames were written, and some more samples promised.
        self._tolerated_frames = MPEG_FRAMES if file.subtype.startswith("MPEG") else 0

    @property
    def is_cut(self) -> bool:
        return self._missing_frames > self._tolerated_frames

    def read(self) -> Samples:
        """The next block, (frames, channels) float32; without frames at the end."""
        frames = min(BLOCK_FRAMES, self._missing_frames) if self._ends_by_header else BLOCK_FRAMES
        try:
            block: Samples = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            self._missing_frames = UNKNOWN_FRAMES
            return np.zeros((0, self.channels), np.float32)
        self._missing_frames -= len(block)
        return block


def opened(kind: Any, source: Any, length_is_known: bool = True) -> SoundFileReader:
    """Raises UnreadableError."""
    options = {"closefd": False} if isinstance(source, int) else {}
    try:
        return SoundFileReader(kind(source, **options), length_is_known)
    except soundfile.LibsndfileError as error:
        raise UnreadableError(error.error_string) from error


class Replay:
    """A source from its beginning again."""

    def __init__(self, beginning: bytes, rest: ByteSource) -> None:
        self._beginning = beginning
        self._rest = rest

    def read(self, count: int) -> bytes:
        data, self._beginning = self._beginning[:count], self._beginning[count:]
        return data or self._rest.read(count)


class FlacWindow:
    """The file interface of what has arrived: its beginning is kept, so that the decoder can go back to it."""

    LENGTH_BYTES = 1 << 40

    def __init__(self, source: ByteSource) -> None:
        self._source = source
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
        data = self._source.read(count)
        self._reached += len(data)
        if self._reached <= KEPT_BYTES:
            self._kept += data
        return data

    def drain(self) -> int:
        """Takes what the decoder left, so that the whole part has been read; how much that was."""
        if self.error is not None:
            raise self.error
        left_bytes = 0
        while data := self._source.read(COPY_BYTES):
            left_bytes += len(data)
        return left_bytes

    def replay(self) -> ByteSource | None:
        if self.error is not None:
            raise self.error
        return Replay(bytes(self._kept), self._source) if self._reached == len(self._kept) else None


class Pump(threading.Thread):
    """Carries a source into a pipe; ends when either end does."""

    def __init__(self, source: ByteSource, write_end: int) -> None:
        super().__init__(name="audio-pump", daemon=True)
        self._source = source
        self._write_end = write_end
        self._error: BaseException | None = None
        self._kept: bytes | None = b""

    def run(self) -> None:
        with contextlib.suppress(BrokenPipeError), io.FileIO(self._write_end, "wb") as sink:
            try:
                self._carry(sink)
            except BrokenPipeError:
                raise
            except BaseException as error:
                self._error = error

    def _carry(self, sink: io.FileIO) -> None:
        while data := self._source.read(COPY_BYTES):
            kept = self._kept
            if kept is not None:
                self._kept = kept + data if len(kept) < KEPT_BYTES else None
            _write_all(sink, data)

    def finish(self) -> None:
        self.join()
        if self._error is not None:
            raise self._error

    def forget_beginning(self) -> None:
        self._kept = None

    def replay(self) -> ByteSource | None:
        """When it has ended: everything again; None where that is too much."""
        return None if self._kept is None else Replay(self._kept, self._source)


class Pipe:
    """A pump and the end of its pipe that the decoder reads."""

    def __init__(self, source: ByteSource, feed: ByteFeed) -> None:
        """`feed`: what the source reads, to be abandoned where the pipe is closed too early."""
        self._feed = feed
        self.read_end, write_end = os.pipe()
        self._is_open = True
        self.pump = Pump(source, write_end)
        self.pump.start()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        if self.pump.is_alive():
            self._feed.abandon()
            self.pump.join()

    def drain(self) -> int:
        """Takes what the decoder left (trailing tags), so that the whole part has been read; how much that was."""
        left_bytes = 0
        while data := os.read(self.read_end, COPY_BYTES):
            left_bytes += len(data)
        self.pump.finish()
        return left_bytes

    def replay(self) -> ByteSource | None:
        """Everything again, for another decoder; None where it is too much."""
        self._close()
        self.pump.finish()
        return self.pump.replay()

    def _close(self) -> None:
        if self._is_open:
            os.close(self.read_end)
            self._is_open = False


def _write_all(sink: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[sink.write(view) or 0 :]
