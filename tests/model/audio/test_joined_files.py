"""Files that were joined end to end, and clocks that jump: nothing that was sent is lost without a word."""

from __future__ import annotations

import numpy as np
import pytest
from audio_bytes import NOISE, RATE, decoded, encoded

from onebit_model.audio.mpeg_audio import frame_at
from onebit_model.audio.reading import AudioOptions

OGG_CRC_POLYNOMIAL = 0x04C11DB7


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("FLAC", "PCM_16"), ("W64", "PCM_16"),
     ("CAF", "PCM_16")],
)  # fmt: skip
@pytest.mark.parametrize("piece_bytes", [61, 4096, 1 << 20])
def test_joined_files_are_read_to_the_end(container: str, subtype: str, piece_bytes: int) -> None:
    joined = encoded(NOISE, container, subtype) + encoded(NOISE[::-1], container, subtype)
    samples, audio = decoded(joined, piece_bytes=piece_bytes)
    np.testing.assert_allclose(samples[:, 0], np.concatenate([NOISE, NOISE[::-1]]), atol=1 / 32000)
    assert audio.duration_seconds == pytest.approx(6.0)
    assert audio.warnings == []


@pytest.mark.parametrize(
    ("container", "subtype", "other"),
    [("OGG", "OPUS", "OPUS"), ("OGG", "VORBIS", "VORBIS"), ("OGG", "VORBIS", "OPUS"),
     ("MP3", "MPEG_LAYER_III", "MPEG_LAYER_III")],
)  # fmt: skip
def test_joined_streams_of_any_rate(container: str, subtype: str, other: str) -> None:
    """MP3 as it is written here promises its length in a header; a decoder stops there."""
    stereo = np.stack([NOISE, NOISE], axis=1)
    joined = encoded(NOISE, container, subtype) * 2 + encoded(stereo, container, other, 48_000)
    samples, audio = decoded(joined)
    assert len(samples) == pytest.approx(7 * RATE, abs=0.2 * RATE)
    assert audio.warnings == []
    for second in range(7):
        assert np.std(samples[second * RATE : (second + 1) * RATE]) > 0.05


def test_tags_between_joined_files_are_skipped() -> None:
    tag = b"ID3\x04\0\0\0\0\x10\0" + bytes(2048)
    old_tag = b"TAG" + b"\xff\xfb" * 62 + b"\0"
    part = encoded(NOISE, "MP3")
    alone = decoded(part)[0]
    for joined in (part + old_tag + tag + part, part + tag + part + old_tag):
        samples, audio = decoded(joined)
        np.testing.assert_array_equal(samples, np.concatenate([alone, alone]))
        assert audio.warnings == []


def test_mp3_that_begins_in_the_middle_of_a_frame() -> None:
    data = encoded(NOISE, "MP3")
    for cut in (200, 777, 1500):
        samples, audio = decoded(data[cut:])
        assert len(samples) == pytest.approx(3 * RATE, abs=0.3 * RATE)
        assert audio.warnings == []


def test_headers_of_mpeg_audio() -> None:
    frame = frame_at(bytes.fromhex("fffb9064"))
    assert frame is not None
    assert (frame.layer, frame.sample_rate, frame.length_bytes, frame.is_mono) == (3, 44_100, 417, False)
    low = frame_at(bytes.fromhex("fff344c4"))
    assert low is not None
    assert (low.layer, low.sample_rate, low.length_bytes, low.is_mono) == (3, 24_000, 96, True)
    for nothing in ("fff15080", "ffffffff", "fffb0064", "fffbf064", "ff"):
        assert frame_at(bytes.fromhex(nothing)) is None


def test_what_stands_behind_the_audio_is_told() -> None:
    rest = np.random.default_rng(1).bytes(30_000)
    for container in ("WAV", "FLAC", "OGG", "MP3"):
        samples, audio = decoded(encoded(NOISE, container) + rest)
        assert len(samples) == pytest.approx(3 * RATE, abs=0.1 * RATE)
        assert "incomplete" in audio.warnings, container


def test_a_length_that_overflowed() -> None:
    """WAV files above 4 GB keep the rest of a division as length."""
    data = encoded(NOISE, "WAV")
    header = bytearray(data[:44])
    header[4:8] = (36 + 32_000).to_bytes(4, "little")
    header[40:44] = (32_000).to_bytes(4, "little")
    samples, audio = decoded(bytes(header) + data[44:])
    assert len(samples) == RATE
    assert audio.warnings == ["incomplete"]


def test_a_damaged_file_behind_a_good_one() -> None:
    good = encoded(NOISE, "FLAC")
    samples, audio = decoded(good + good[:42] + bytes(9000) + good)
    assert len(samples) >= 3 * RATE
    assert audio.warnings == ["incomplete"] or len(samples) >= 6 * RATE


def test_channels_of_joined_files() -> None:
    stereo = np.stack([NOISE, NOISE / 2], axis=1)
    both = encoded(stereo, "WAV", "FLOAT") + encoded(NOISE, "WAV", "FLOAT")
    samples, audio = decoded(both, AudioOptions(channel="split"))
    np.testing.assert_array_equal(samples, np.concatenate([stereo, np.stack([NOISE, 0 * NOISE], axis=1)]))
    assert audio.warnings == ["channels_differ"]
    assert decoded(both, AudioOptions(channel=1))[1].warnings == ["channels_differ"]
    samples, audio = decoded(both)
    np.testing.assert_allclose(samples[:, 0], np.concatenate([NOISE * 0.75, NOISE]), atol=1e-6)
    assert audio.warnings == []


def ogg_checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ OGG_CRC_POLYNOMIAL) & 0xFFFFFFFF if value >> 31 else value << 1
    return value


def with_later_clock(ogg: bytes, from_page: int, samples: int) -> bytes:
    """An Ogg stream whose pages from this one on (0 is the first with sound) end so much later."""
    pages, start = [], 0
    while start < len(ogg):
        table_end = start + 27 + ogg[start + 26]
        end = table_end + sum(ogg[start + 27 : table_end])
        pages.append(bytearray(ogg[start:end]))
        start = end
    with_sound = [page for page in pages if int.from_bytes(page[6:14], "little")]
    for page in with_sound[from_page:]:
        page[6:14] = (int.from_bytes(page[6:14], "little") + samples).to_bytes(8, "little")
        page[22:26] = bytes(4)
        page[22:26] = ogg_checksum(page).to_bytes(4, "little")
    return b"".join(pages)


@pytest.mark.parametrize(("subtype", "clock_rate"), [("OPUS", 48_000), ("VORBIS", RATE)])
def test_a_hole_in_the_time_of_an_ogg_stream(subtype: str, clock_rate: int) -> None:
    data = encoded(NOISE, "OGG", subtype)
    whole = decoded(data)[0][:, 0]
    samples, audio = decoded(with_later_clock(data, 1, 20 * clock_rate))
    assert audio.warnings == []
    assert audio.duration_seconds == pytest.approx(len(whole) / RATE + 20, abs=0.15)
    is_loud = np.abs(samples[:, 0]) > 0.02
    silence_begin = int(np.flatnonzero(is_loud[: 10 * RATE])[-1])
    silence_end = int(np.flatnonzero(is_loud[silence_begin + 1 :])[0]) + silence_begin + 1
    assert silence_end - silence_begin == pytest.approx(20 * RATE, abs=0.15 * RATE)
    # What stands behind the hole is the sound that belongs there.
    behind = samples[silence_end + 2000 : silence_end + 10_000, 0]
    expected = whole[len(whole) - (len(samples) - silence_end) + 2000 :][: len(behind)]
    shifts = [abs(np.corrcoef(np.roll(behind, shift), expected)[0, 1]) for shift in range(-1600, 1600)]
    assert max(shifts) > 0.9


def test_an_ogg_stream_that_starts_late() -> None:
    data = encoded(NOISE, "OGG", "OPUS")
    whole = decoded(data)[0]
    samples, audio = decoded(with_later_clock(data, 0, 10 * 48_000))
    assert audio.duration_seconds == pytest.approx(len(whole) / RATE + 10, abs=0.01)
    assert not samples[: 10 * RATE - 200].any()
    # A recording that was joined in progress has the sender's clock, by which nothing can be told.
    assert decoded(with_later_clock(data, 0, 48_000 * 36_000))[1].duration_seconds == pytest.approx(3.0, abs=0.01)
