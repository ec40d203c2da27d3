"""Pauses between the edits of an MP4: taken out of the file, put into its sound."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import pytest
from audio_bytes import Samples

from onebit_model.audio.edit_list import Pause, PausedReader, take_out_pauses


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def mp4(edits: list[tuple[int, int]], handler: bytes = b"soun") -> bytes:
    """Pictures first; (duration in units of 1/1000 s, begin) of each edit of the second track."""
    entries = b"".join(struct.pack(">IiI", duration, begin, 1 << 16) for duration, begin in edits)
    listed = box(b"elst", struct.pack(">II", 0, len(edits)) + entries)
    pictures = box(b"trak", box(b"mdia", box(b"hdlr", bytes(8) + b"vide" + bytes(12))))
    sound = box(b"trak", box(b"edts", listed) + box(b"mdia", box(b"hdlr", bytes(8) + handler + bytes(12))))
    header = box(b"mvhd", bytes(12) + struct.pack(">II", 1000, 9000) + bytes(80))
    return box(b"ftyp", b"isom" + bytes(4)) + box(b"mdat", bytes(100)) + box(b"moov", header + pictures + sound)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as opened:
        yield opened


def changed(file: IO[bytes], data: bytes) -> tuple[list[Pause], bytes]:
    file.write(data)
    file.flush()
    pauses = take_out_pauses(file)
    file.seek(0)
    return pauses, file.read()


def test_pauses_between_edits_are_taken_out(file: IO[bytes]) -> None:
    data = mp4([(500, -1), (1000, 0), (5000, -1), (2000, 16_000), (300, -1), (100, 0)])
    pauses, left = changed(file, data)
    assert pauses == [Pause(1.5, 5.0), Pause(3.5, 0.3)]
    assert len(left) == len(data)
    expected = mp4([(500, -1), (1000, 0), (2000, 16_000), (100, 0)])
    at = left.index(b"elst") - 4
    size = int.from_bytes(left[at : at + 4], "big")
    assert left[at : at + size] == expected[expected.index(b"elst") - 4 :][:size]
    assert left[at + size : at + size + 8] == struct.pack(">I4s", 24, b"free")
    assert left[:at] == data[:at]


@pytest.mark.parametrize(
    "data",
    [mp4([(500, -1), (1000, 0), (1000, 32_000)]), mp4([(1000, 0), (5000, -1)], handler=b"text"), mp4([]), b"",
     b"\0\0\0\x08moov",
     mp4([(1000, 0), (5000, -1)])[:-200], np.random.default_rng(1).bytes(5000)],
)  # fmt: skip
def test_other_files_stay_as_they_are(file: IO[bytes], data: bytes) -> None:
    assert changed(file, data) == ([], data)


class Counting:
    """Sound whose samples tell their place."""

    sample_rate = 100
    channels = 2

    def __init__(self, frames: int) -> None:
        self._source = io.BytesIO(np.repeat(np.arange(1, frames + 1, dtype=np.float32), 2).tobytes())

    def read(self) -> Samples:
        return np.frombuffer(self._source.read(37 * 8), np.float32).reshape(-1, 2)


def test_pauses_are_put_in() -> None:
    reader = PausedReader(Counting(300), [Pause(1.5, 5.0), Pause(2.0, 0.1), Pause(9.0, 1.0)], start_seconds=0.5)
    blocks = []
    while len(block := reader.read()):
        blocks.append(block)
    sound = np.concatenate(blocks)[:, 0]
    silence = np.zeros(500, np.float32)
    counted = np.arange(1, 301, dtype=np.float32)
    expected = np.concatenate([counted[:100], silence, counted[100:150], silence[:10], counted[150:]])
    np.testing.assert_array_equal(sound, expected)
