"""Containers that only ffmpeg reads, and what must not get through it."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.reading import AudioOptions, open_audio
from onebit_model.errors import AudioTooLargeError, UnsupportedMediaError

Samples = npt.NDArray[np.float32]
TONE = (0.2 * np.sin(np.arange(3 * 16_000) * 0.2)).astype(np.float32)


def seconds_of(data: bytes, maximum_seconds: float = 100, ffmpeg_seconds: float = 30) -> float:
    return decoded(data, maximum_seconds, ffmpeg_seconds)[0]


def decoded(data: bytes, maximum_seconds: float = 100, ffmpeg_seconds: float = 30) -> tuple[float, list[str]]:
    samples, warnings = samples_of(
        data, AudioOptions(maximum_seconds=maximum_seconds, ffmpeg=Ffmpeg("ffmpeg", ffmpeg_seconds))
    )
    return len(samples) / 16_000, warnings


def samples_of(data: bytes, options: AudioOptions | None = None) -> tuple[Samples, list[str]]:
    feed = ByteFeed()
    for start in range(0, len(data), 5000):
        feed.offer(data[start : start + 5000])
    feed.close()
    with open_audio(feed, options or AudioOptions(ffmpeg=Ffmpeg("ffmpeg", 30))) as audio:
        samples = np.concatenate(list(audio.blocks()))[:, 0]
        return samples, audio.warnings


def heard_seconds(samples: Samples) -> list[tuple[float, float]]:
    """From when to when there is sound; shorter silences than half a second are none."""
    loud = np.flatnonzero(np.abs(samples) > 0.02) / 16_000
    breaks = np.flatnonzero(np.diff(loud) > 0.5)
    begins, ends = [loud[0], *loud[breaks + 1]], [*loud[breaks], loud[-1]]
    return [(float(begin), float(end)) for begin, end in zip(begins, ends, strict=True)]


def run_ffmpeg(folder: Path, *arguments: str) -> None:
    subprocess.run(["ffmpeg", "-y", "-nostdin", "-loglevel", "error", *arguments], cwd=folder, check=True)


def converted(tmp_path: Path, name: str, *options: str) -> bytes:
    soundfile.write(tmp_path / "tone.wav", TONE, 16_000)
    run_ffmpeg(tmp_path, "-i", "tone.wav", *options, name)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", ["-c:a", "aac"]), ("a.m4a", ["-c:a", "aac"]),
     ("a.webm", ["-c:a", "libopus"]), ("a.mkv", ["-c:a", "flac"]),
     ("a.aac", []), ("a.avi", []), ("a.flv", ["-ar", "44100"]), ("a.wma", []),
     ("a.oga", ["-c:a", "flac"]), ("a.spx", ["-c:a", "libspeex"]),
     ("a.caf", ["-c:a", "alac"]),
     ("b.caf", ["-c:a", "libopus"]), ("a.ts", ["-c:a", "aac"]), ("a.m2ts", ["-c:a", "ac3"]), ("a.ac3", []),
     ("a.eac3", []), ("a.mpg", ["-c:a", "mp2"]), ("a.wv", []), ("a.tta", []),
     ("a.wav", ["-c:a", "g726", "-ar", "8000"])],
)  # fmt: skip
def test_containers(tmp_path: Path, name: str, options: list[str]) -> None:
    seconds, warnings = decoded(converted(tmp_path, name, *options))
    assert seconds == pytest.approx(3.0, abs=0.2)
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "options", "warnings"),
    [("a.mp4", ["-c:a", "aac", "-movflags", "+faststart"], ["truncated"]),
     ("a.webm", ["-c:a", "libopus"], ["truncated"]), ("a.aac", [], [])],
)  # fmt: skip
def test_a_missing_end(tmp_path: Path, name: str, options: list[str], warnings: list[str]) -> None:
    data = converted(tmp_path, name, *options)
    seconds, found = decoded(data[: len(data) * 2 // 3])
    assert 1.0 < seconds < 2.5
    assert found == warnings


def test_damage_in_the_middle_costs_what_is_damaged(tmp_path: Path) -> None:
    data = bytearray(converted(tmp_path, "a.aac"))
    for at in range(len(data) // 2, len(data) // 2 + 300):
        data[at] ^= 0x5A
    assert seconds_of(bytes(data)) == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [("a.mp4", [], "MP4"), ("a.webm", ["-c:a", "libopus"], "WebM"), ("a.ts", [], "MPEG-TS"),
     ("a.caf", ["-c:a", "alac"], ""),
     ("a.spx", ["-c:a", "libspeex"], "Ogg")],
)  # fmt: skip
@pytest.mark.parametrize("ffmpeg", [None, Ffmpeg("no-such-ffmpeg", 30)])
def test_without_ffmpeg(tmp_path: Path, name: str, options: list[str], named: str, ffmpeg: Ffmpeg | None) -> None:
    data = converted(tmp_path, name, *options)
    with pytest.raises(UnsupportedMediaError, match=rf"{named}.*ffmpeg, which is not installed"):
        samples_of(data, AudioOptions(ffmpeg=ffmpeg))


def test_ffmpeg_is_looked_for_when_it_is_needed(tmp_path: Path) -> None:
    data = converted(tmp_path, "a.m4a")
    program = tmp_path / "later"
    options = AudioOptions(ffmpeg=Ffmpeg(str(program), 30))
    with pytest.raises(UnsupportedMediaError, match="not installed"):
        samples_of(data, options)
    program.symlink_to(shutil.which("ffmpeg") or "")
    assert len(samples_of(data, options)[0]) == pytest.approx(48_000, abs=2000)


def test_broken_files_are_refused_in_words_of_ours(tmp_path: Path) -> None:
    run_ffmpeg(tmp_path, "-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=1", "-metadata", "title=No streams", "silent.mp4")
    m4a = converted(tmp_path, "a.m4a")
    for data, words in (
        ((tmp_path / "silent.mp4").read_bytes(), "the file has pictures and no sound"),
        (m4a[:64], "no sound can be found in the file"),
        (m4a[: len(m4a) // 2], "no sound can be found in the file"),
        (b"\x1a\x45\xdf\xa3" + bytes(10_000), "no sound can be found in the file"),
        (np.random.default_rng(5).bytes(20_000), "the data is not audio of a known format"),
        (b"OggS" + b"\2" * 5000, "no sound can be found in the file"),
    ):
        with pytest.raises(UnsupportedMediaError) as error:
            seconds_of(data)
        assert words in str(error.value)
        assert "/" not in str(error.value)


LATE = [
    ("mp4", ["-c:a", "aac"]), ("mov", ["-c:a", "aac"]), ("mkv", ["-c:a", "aac"]), ("ts", ["-c:a", "aac"]),
    ("flv", ["-c:a", "aac", "-ar", "44100"]), ("mpg", ["-c:a", "mp2", "-c:v", "mpeg2video", "-r", "25"]),
    ("webm", ["-c:a", "libopus", "-c:v", "libvpx"]), ("ogv", ["-c:a", "libvorbis", "-c:v", "libtheora"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), LATE)
def test_a_track_that_starts_late(tmp_path: Path, name: str, options: list[str]) -> None:
    """Beside pictures that do not."""
    soundfile.write(tmp_path / "tone.wav", TONE, 16_000)
    pictures = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=12"]
    run_ffmpeg(
        tmp_path, *pictures, "-itsoffset", "8", "-i", "tone.wav", "-map", "0", "-map", "1", *options, f"a.{name}"
    )
    samples, warnings = samples_of((tmp_path / f"a.{name}").read_bytes())
    [(begin, end)] = heard_seconds(samples)
    assert (begin, end) == pytest.approx((8, 11), abs=0.12)
    assert warnings == []


@pytest.mark.parametrize("name", ["m4a", "mka", "opus"])
def test_sound_alone_that_starts_late(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "tone.wav", TONE, 16_000)
    run_ffmpeg(tmp_path, "-itsoffset", "8", "-i", "tone.wav", f"a.{name}")
    samples, warnings = samples_of((tmp_path / f"a.{name}").read_bytes())
    [(begin, end)] = heard_seconds(samples)
    assert (begin, end) == pytest.approx((8, 11), abs=0.12)
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "options"),
    [("webm", ["-c:a", "libopus"]), ("mkv", ["-c:a", "aac"]), ("mp4", ["-c:a", "aac"]), ("ts", ["-c:a", "aac"]),
     ("mp4", ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov+default_base_moof"]),
     ("flv", ["-c:a", "aac", "-ar", "44100"]), ("wma", []), ("opus", []), ("ogg", ["-c:a", "libvorbis"])],
)  # fmt: skip
def test_a_hole(tmp_path: Path, name: str, options: list[str]) -> None:
    hole = ["-f", "lavfi", "-i", "sine=f=440:r=48000:d=26", "-af", "aselect='lt(t,3)+gt(t,23)'"]
    run_ffmpeg(tmp_path, *hole, *options, f"a.{name}")
    samples, warnings = samples_of((tmp_path / f"a.{name}").read_bytes())
    # A page of Ogg has one time for all that it holds.
    tolerance_seconds = 1.5 if name in ("opus", "ogg") else 0.12
    first, second = heard_seconds(samples)
    assert first == pytest.approx((0, 3), abs=tolerance_seconds)
    assert second == pytest.approx((23, 26), abs=tolerance_seconds)
    assert warnings == []


def test_edit_lists(tmp_path: Path) -> None:
    """What the file's list of edits has, when it has it, whatever the data hold."""
    data = converted(tmp_path, "a.m4a")
    for edits, heard in (
        ([(1.0, 1024), (1.0, 1024 + 32_000)], [(0, 2)]),
        ([(1.0, 1024), (5.0, -1), (2.0, 1024 + 16_000)], [(0, 1), (6, 8)]),
        ([(3.0, -1), (1.0, 1024), (2.0, -1), (1.0, 1024 + 16_000), (4.0, -1), (1.0, 1024)], [(3, 4), (6, 7), (11, 12)]),
        ([(2.0, 1024 + 16_000)], [(0, 2)]),
        ([(4.0, -1), (3.0, 1024)], [(4, 7)]),
    ):
        samples, _ = samples_of(with_edits(data, edits))
        assert np.ravel(heard_seconds(samples)).tolist() == pytest.approx(np.ravel(heard).tolist(), abs=0.1)


def with_edits(m4a: bytes, edits: list[tuple[float, int]]) -> bytes:
    """(seconds, first sample of the media or -1) each; the file's `moov` box has to be its last."""
    path, start, end, parents = [b"moov", b"trak", b"edts", b"elst"], 0, len(m4a), []
    for name in path:
        while m4a[start + 4 : start + 8] != name:
            start += int.from_bytes(m4a[start : start + 4], "big")
            assert start < end
        parents.append(start)
        end = start + int.from_bytes(m4a[start : start + 4], "big")
        start += 8
    units_per_second = int.from_bytes(m4a[m4a.index(b"mvhd") + 16 :][:4], "big")
    entries = b"".join(struct.pack(">iihh", round(seconds * units_per_second), begin, 1, 0) for seconds, begin in edits)
    box = struct.pack(">I4sII", 16 + len(entries), b"elst", 0, len(edits)) + entries
    changed = bytearray(m4a[: parents[-1]] + box + m4a[end:])
    growth = len(box) - (end - parents[-1])
    for parent in parents[:-1]:
        length = int.from_bytes(m4a[parent : parent + 4], "big") + growth
        changed[parent : parent + 4] = length.to_bytes(4, "big")
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "options"),
    [("m4a", []), ("mka", ["-c:a", "aac"]), ("webm", ["-c:a", "libopus"]), ("flv", ["-ar", "44100"]), ("wma", []),
     ("aac", []), ("ac3", []), ("ts", ["-c:a", "aac"]), ("avi", []), ("caf", ["-c:a", "alac"]),
     ("oga", ["-c:a", "flac"]),
     ("spx", ["-c:a", "libspeex"]), ("mp3", []), ("mp2", []), ("wv", []),
     ("wv", ["-af", "pan=quad|c0=c0|c1=c0|c2=c0|c3=c0"]), ("tta", [])],
)  # fmt: skip
def test_joined_files(tmp_path: Path, name: str, options: list[str]) -> None:
    data = converted(tmp_path, f"a.{name}", *options)
    alone, _ = samples_of(data)
    samples, warnings = samples_of(data * 3)
    assert len(samples) == pytest.approx(3 * len(alone), abs=4000)
    assert np.count_nonzero(np.abs(samples) > 0.05) > 2.9 * np.count_nonzero(np.abs(alone) > 0.05)
    assert warnings == []


def test_joined_ogg_streams_of_any_codec(tmp_path: Path) -> None:
    parts = [
        converted(tmp_path, "a.spx", "-c:a", "libspeex"),
        converted(tmp_path, "a.opus"),
        converted(tmp_path, "a.oga", "-c:a", "flac"),
    ]
    samples, warnings = samples_of(b"".join([*parts, parts[1]]))
    assert len(samples) == pytest.approx(4 * 48_000, abs=3000)
    assert warnings == []
    without, warnings = samples_of(b"".join([parts[1], parts[0], parts[1]]), AudioOptions())
    assert len(without) == pytest.approx(2 * 48_000, abs=1000)
    assert warnings == ["incomplete"]


def test_libsndfile_and_ffmpeg_agree_on_lengths(tmp_path: Path) -> None:
    """Where both read a file, joined or not."""
    for name in ("wav", "flac", "ogg", "opus", "mp3", "aiff", "au", "w64"):
        data = converted(tmp_path, f"a.{name}")
        for count in (1, 2):
            (tmp_path / f"joined.{name}").write_bytes(data * count)
            raw = ["-f", "s16le", "-ac", "1", "-ar", "16000", "pipe:1"]
            by_ffmpeg = len(
                subprocess.run(
                    ["ffmpeg", "-nostdin", "-loglevel", "quiet", "-i", f"joined.{name}", *raw],
                    cwd=tmp_path, check=False, capture_output=True,
                ).stdout
            ) / 2  # fmt: skip
            ours = len(samples_of(data * count)[0])
            assert ours >= by_ffmpeg - 3000
            assert ours == pytest.approx(count * 48_000, abs=3000)


def test_other_tracks_are_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", TONE, 16_000)
    run_ffmpeg(tmp_path, "-i", "tone.wav", "-i", "tone.wav", "-map", "0", "-map", "1", "two.mka")
    assert decoded((tmp_path / "two.mka").read_bytes())[1] == ["other_tracks"]


def ten_hours_of_silence(tmp_path: Path) -> bytes:
    """Ten minutes are encoded, and their packets repeated."""
    source = ["-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=600", "-c:a", "aac", "part.m4a"]
    repeated = ["-stream_loop", "59", "-i", "part.m4a", "-c", "copy", "a.m4a"]
    run_ffmpeg(tmp_path, *source)
    run_ffmpeg(tmp_path, *repeated)
    return (tmp_path / "a.m4a").read_bytes()


def test_output_is_bounded(tmp_path: Path) -> None:
    """Hours of silence compress to nothing; decoding stops at the limit."""
    data = ten_hours_of_silence(tmp_path)
    begin = time.monotonic()
    with pytest.raises(AudioTooLargeError):
        seconds_of(data, maximum_seconds=60)
    assert time.monotonic() - begin < 10


def test_time_is_bounded(tmp_path: Path) -> None:
    data = ten_hours_of_silence(tmp_path)
    with pytest.raises(UnsupportedMediaError, match="time"):
        seconds_of(data, maximum_seconds=1e6, ffmpeg_seconds=0.2)


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    ],
)
def test_playlists_that_name_other_files_are_not_opened(tmp_path: Path, playlist: str) -> None:
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, TONE, 16_000)
    with pytest.raises(UnsupportedMediaError, match="known format"):
        seconds_of(playlist.format(secret=secret).encode())
    # The same inside a container that is opened: nothing in it may lead anywhere either.
    with pytest.raises(UnsupportedMediaError):
        seconds_of(b"\0\0\0\x18ftypmp42" + playlist.format(secret=secret).encode())
