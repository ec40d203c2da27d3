"""Pauses in the edit list of an MP4's sound (ISO/IEC 14496-12, 8.6.6), which ffmpeg knows at the beginning only.

It plays the track from its start where an empty edit stands between others. So those are taken out of the file, and put
into the sound that it decodes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from onebit_model.audio.sound_file import SampleReader

Samples = npt.NDArray[np.float32]

LARGEST_INDEX_BYTES = 1 << 26
EMPTY = -1


@dataclass(frozen=True)
class Pause:
    """`at_seconds`: on the clock of the file without its pauses."""

    at_seconds: float
    seconds: float


@dataclass(frozen=True)
class Box:
    name: bytes
    start: int  # of what is in it
    end: int


def take_out_pauses(file: IO[bytes]) -> list[Pause]:
    """The pauses between the edits of the first sound track; `file` is changed to be without them."""
    length = os.fstat(file.fileno()).st_size
    index = next((box for box in _boxes_of_file(file, length) if box.name == b"moov"), None)
    if index is None or index.end - index.start > LARGEST_INDEX_BYTES:
        return []
    data = os.pread(file.fileno(), index.end - index.start, index.start)
    try:
        pauses, place, edits = _without_pauses(data)
    except (struct.error, StopIteration, IndexError):
        return []
    if pauses:
        os.pwrite(file.fileno(), edits, index.start + place)
    return pauses


def _boxes_of_file(file: IO[bytes], length: int) -> Iterator[Box]:
    start = 0
    while len(head := os.pread(file.fileno(), 16, start)) == 16:
        size, name = struct.unpack(">I4s", head[:8])
        content = start + 8
        if size == 1:
            size, content = struct.unpack(">Q", head[8:])[0], start + 16
        end = start + size if size else length
        if end <= start:
            return
        yield Box(name, content, min(end, length))
        start = end


def _boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        if size < 8:
            return
        yield Box(name, start + 8, min(start + size, end))
        start += size


def _inside(data: bytes, box: Box, *path: bytes) -> Box | None:
    for name in path:
        found = next((inner for inner in _boxes(data, box.start, box.end) if inner.name == name), None)
        if found is None:
            return None
        box = found
    return box


def _without_pauses(data: bytes) -> tuple[list[Pause], int, bytes]:
    """The pauses of the `moov` box `data`, and what to write where to be rid of them."""
    movie = Box(b"moov", 0, len(data))
    header = _inside(data, movie, b"mvhd")
    tracks = (box for box in _boxes(data, 0, len(data)) if box.name == b"trak")
    handlers = ((track, _inside(data, track, b"mdia", b"hdlr")) for track in tracks)
    sound = next(track for track, handler in handlers if handler and data[handler.start + 8 :][:4] == b"soun")
    listed = _inside(data, sound, b"edts", b"elst")
    if header is None or listed is None:
        return [], 0, b""
    units_per_second = struct.unpack_from(">I", data, header.start + (20 if data[header.start] else 12))[0]
    form = ">QqI" if data[listed.start] else ">IiI"
    count = struct.unpack_from(">I", data, listed.start + 4)[0]
    edits = [struct.unpack_from(form, data, listed.start + 8 + at * struct.calcsize(form)) for at in range(count)]
    pauses: list[Pause] = []
    kept: list[tuple[int, int, int]] = []
    units = 0
    for edit in edits:
        duration, begin, rate = edit
        if begin == EMPTY and any(other != EMPTY for _, other, _ in kept):
            pauses.append(Pause(units / units_per_second, duration / units_per_second))
        else:
            kept.append((duration, begin, rate))
            units += duration
    entries = b"".join(struct.pack(form, *edit) for edit in kept)
    table = struct.pack(">I4s", 16 + len(entries), b"elst") + data[listed.start : listed.start + 4]
    # ffmpeg counts the entries by the length of their box: what is left over becomes a box of its own.
    rest = struct.calcsize(form) * len(pauses)
    free = struct.pack(">I4s", rest, b"free") + bytes(rest - 8) if rest else b""
    return pauses, listed.start - 8, table + struct.pack(">I", len(kept)) + entries + free


class PausedReader:
    """A reader's sound with pauses put in."""

    def __init__(self, reader: SampleReader, pauses: list[Pause], start_seconds: float) -> None:
        """`start_seconds`: where the reader's sound begins on the file's clock."""
        self.sample_rate = reader.sample_rate
        self.channels = reader.channels
        self._reader = reader
        rate = reader.sample_rate
        self._pauses = [
            (round((pause.at_seconds - start_seconds) * rate), round(pause.seconds * rate)) for pause in pauses
        ]
        self._frames = 0
        self._silence_frames = 0
        self._waiting = np.zeros((0, reader.channels), np.float32)

    def read(self) -> Samples:
        if self._silence_frames:
            block = np.zeros((min(self._silence_frames, self.sample_rate), self.channels), np.float32)
            self._silence_frames -= len(block)
            return block
        block = self._waiting if len(self._waiting) else self._reader.read()
        if self._pauses and self._frames + len(block) > self._pauses[0][0]:
            at, self._silence_frames = self._pauses.pop(0)
            before = max(0, at - self._frames)
            self._waiting = block[before:]
            self._frames += before
            return block[:before] if before else self.read()
        self._waiting = block[:0]
        self._frames += len(block)
        return block
