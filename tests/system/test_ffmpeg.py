"""Containers that only ffmpeg reads, and what must not get through it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.reading import AudioOptions, open_audio
from onebit_model.errors import AudioTooLargeError, UnsupportedMediaError

TONE = (0.2 * np.sin(np.arange(3 * 16_000) * 0.2)).astype(np.float32)


def seconds_of(data: bytes, maximum_seconds: float = 100, ffmpeg_seconds: float = 30) -> float:
    return decoded(data, maximum_seconds, ffmpeg_seconds)[0]


def decoded(data: bytes, maximum_seconds: float = 100, ffmpeg_seconds: float = 30) -> tuple[float, list[str]]:
    feed = ByteFeed()
    for start in range(0, len(data), 5000):
        feed.offer(data[start : start + 5000])
    feed.close()
    options = AudioOptions(maximum_seconds=maximum_seconds, ffmpeg=Ffmpeg.find("ffmpeg", ffmpeg_seconds))
    with open_audio(feed, options) as audio:
        seconds = sum(len(block) for block in audio.blocks()) / 16_000
        return seconds, audio.warnings


def converted(tmp_path: Path, name: str, *options: str) -> bytes:
    soundfile.write(tmp_path / "tone.wav", TONE, 16_000)
    command = ["ffmpeg", "-loglevel", "error", "-i", "tone.wav", *options, name]
    subprocess.run(command, cwd=tmp_path, check=True)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", ["-c:a", "aac"]), ("a.m4a", ["-c:a", "aac"]),
     ("a.webm", ["-c:a", "libopus"]), ("a.mkv", ["-c:a", "flac"]),
     ("a.aac", []), ("a.avi", []), ("a.flv", ["-ar", "44100"]), ("a.wma", [])],
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


def test_without_ffmpeg(tmp_path: Path) -> None:
    feed = ByteFeed()
    feed.offer(converted(tmp_path, "a.mp4"))
    feed.close()
    with pytest.raises(UnsupportedMediaError, match="ffmpeg"), open_audio(feed, AudioOptions()):
        pass


def test_broken_container(tmp_path: Path) -> None:
    data = converted(tmp_path, "a.mp4")
    with pytest.raises(UnsupportedMediaError, match="Invalid data"):
        seconds_of(data[:64])
    with pytest.raises(UnsupportedMediaError):
        seconds_of(b"\x1a\x45\xdf\xa3" + bytes(10_000))


def ten_hours_of_silence(tmp_path: Path) -> bytes:
    """Ten minutes are encoded, and their packets repeated."""
    source = ["-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=600", "-c:a", "aac", "part.m4a"]
    repeated = ["-stream_loop", "59", "-i", "part.m4a", "-c", "copy", "a.m4a"]
    for arguments in (source, repeated):
        subprocess.run(["ffmpeg", "-loglevel", "error", *arguments], cwd=tmp_path, check=True)
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
