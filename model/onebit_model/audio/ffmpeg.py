"""ffmpeg for what libsndfile does not read: a child process, bounded in time, memory and reach.

Its input is a finished temporary file. Its demuxer is chosen here by the file's first bytes, or by itself among those
of a list: a playlist, which could name other files or addresses, is never opened.
"""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from onebit_model.errors import UnsupportedMediaError

MEMORY_BYTES = 2 << 30
MESSAGES_BYTES = 1 << 18
# Clocks of these begin at 0 whenever their tracks do; those of broadcasts begin anywhere.
ABSOLUTE_CLOCKS = ("mov", "matroska")
# ffmpeg counts the time of these from the first track that it is asked for, unless it is asked for the pictures, too.
SHARED_CLOCKS = ("mpegts", "mpeg", "ogg", None)
# Later than this a track does not start: the file was cut out of a longer recording with its times.
LATEST_START_SECONDS = 3600.0
DEMUXERS = (
    "aac,ac3,eac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,dv,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,mxf,nut,ogg,oma,rm,rso,shn,smjpeg,sox,tak,truehd,tta,voc,w64,wav,wsd,wtv,wv,xwma"
)
# A frame that begins before the one in front of it has ended (joined files, clocks that start again) is moved behind
# it: no sound is dropped for its time. What is missing then, and before the first frame, becomes silence.
KEEP_TIMES = (
    "asetpts='st(0,if(gt(PTS,ld(1)),PTS,ld(1)));st(1,ld(0)+NB_SAMPLES/(SR*TB));ld(0)',aresample=async=1:first_pts=0"
)
# What the demuxers of MP4 and Matroska say when the file is shorter than it should be; others cannot know.
SIGNS_OF_A_MISSING_END = ("partial file", "File ended prematurely")
# Tracks that are shorter than the file by less than this are so by rounding, or by a codec's frames.
MISSING_SECONDS = 1.0


@dataclass(frozen=True)
class Description:
    """What ffmpeg says of its input before it decodes."""

    start_seconds: float
    duration_seconds: float | None
    sounds: int
    has_pictures: bool

    @staticmethod
    def parse(messages: str) -> Description:
        of_input = re.split(r"^(?:Stream mapping|Output #0)", messages, maxsplit=1, flags=re.MULTILINE)[0]
        line = re.search(r"^ *Duration: (\S+), start: (-?[\d.]+)", of_input, re.MULTILINE)
        clock = re.match(r"(\d+):(\d\d):(\d\d\.\d+)", line[1]) if line else None
        kinds = re.findall(r"^ *Stream #0:\d+.*?: (Audio|Video): (.*)", of_input, re.MULTILINE)
        return Description(
            start_seconds=float(line[2]) if line else 0.0,
            duration_seconds=int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None,
            sounds=sum(kind == "Audio" for kind, _ in kinds),
            has_pictures=any(kind == "Video" and "attached pic" not in text for kind, text in kinds),
        )


@dataclass
class Decoded:
    output: int
    _process: subprocess.Popen[bytes]
    _errors: IO[bytes]
    _kind: str | None
    _seconds: float
    timed_out: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Whoever waits for its output waits no longer."""
        self._process.kill()

    def start_seconds(self) -> float:
        """When the first of the tracks begins on the container's clock; known once there is output."""
        return self._start_seconds(Description.parse(self._messages()))

    def _start_seconds(self, description: Description) -> float:
        is_kept = self._kind in ABSOLUTE_CLOCKS and 0 < description.start_seconds < LATEST_START_SECONDS
        return description.start_seconds if is_kept else 0.0

    def at_end(self, seconds: float) -> set[str]:
        """The warnings about `seconds` of sound that came; raises UnsupportedMediaError where there is none."""
        status = self._process.wait()
        messages = self._messages()
        description = Description.parse(messages)
        if self.timed_out.is_set():
            raise UnsupportedMediaError(
                f"the audio could not be decoded in the time that a file has: {self._seconds:g} s"
            )
        if not seconds and (status or not description.sounds):
            raise UnsupportedMediaError(_complaint(description, self._kind))
        warnings = {"other_tracks"} if description.sounds > 1 else set()
        if status or any(sign in messages for sign in SIGNS_OF_A_MISSING_END) or self._is_short(description, seconds):
            warnings.add("truncated")
        return warnings

    def _is_short(self, description: Description, seconds: float) -> bool:
        """Is there less sound than the header says? The length may be that of pictures, or of what an edit left out."""
        if self._kind in ABSOLUTE_CLOCKS or description.has_pictures or description.duration_seconds is None:
            return False
        return seconds < description.duration_seconds - max(MISSING_SECONDS, 0.05 * description.duration_seconds)

    def _messages(self) -> str:
        self._errors.seek(0)
        return self._errors.read(MESSAGES_BYTES).decode(errors="replace")


def _complaint(description: Description, kind: str | None) -> str:
    if description.sounds:
        return "the audio cannot be decoded: the file is damaged, or its codec is one that ffmpeg does not know"
    if description.has_pictures:
        return "the file has pictures and no sound"
    if kind is None:
        return "the data is not audio of a known format"
    return "no sound can be found in the file: its beginning or its end is missing, or it is damaged"


@dataclass(frozen=True)
class Ffmpeg:
    """`name` is looked for whenever it is needed: it may be installed, updated or removed meanwhile."""

    name: str
    maximum_seconds: float

    @property
    def program(self) -> str | None:
        return shutil.which(self.name)

    @contextmanager
    def decode(self, file: IO[bytes], kind: str | None) -> Iterator[Decoded]:
        """`kind`: the name of the demuxer; None lets ffmpeg choose one of DEMUXERS."""
        program = self.program
        if program is None:
            raise UnsupportedMediaError("ffmpeg, which this audio needs, is not installed where it would be decoded")
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                _command(program, file.fileno(), kind),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env={},
                # A message too many must be lost, not end the process: SIGXFSZ stays ignored, as Python has it.
                pass_fds=[file.fileno()], restore_signals=False,
            )  # fmt: skip
            assert process.stdout is not None
            self._limit(process.pid)
            decoded = Decoded(process.stdout.fileno(), process, errors, kind, self.maximum_seconds)
            clock = threading.Timer(self.maximum_seconds, _stop, [decoded, process])
            clock.start()
            try:
                yield decoded
            finally:
                clock.cancel()
                with contextlib.suppress(OSError):
                    process.kill()
                process.stdout.close()
                process.wait()

    def _limit(self, process: int) -> None:
        """Limits that the kernel keeps, whatever ffmpeg does."""
        seconds = int(self.maximum_seconds) + 1
        for kind, limit in (
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_FSIZE, MESSAGES_BYTES),
        ):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process, kind, (limit, limit))


def _command(program: str, file: int, kind: str | None) -> list[str]:
    demuxer = ["-f", kind] if kind else ["-format_whitelist", DEMUXERS]
    with_pictures = ["-map", "0:a:0", "-map", "0:v?", "-c", "copy", "-f", "null", "-"] if kind in SHARED_CLOCKS else []
    return [
        program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-threads", "1",
        # A track that starts late is found late; a jump of the clock by less than an hour is a hole.
        "-probesize", "64M", "-analyzeduration", "120M", "-dts_delta_threshold", "3600",
        "-protocol_whitelist", "file", *demuxer, "-i", f"file:/proc/self/fd/{file}",
        "-map", "0:a:0", "-vn", "-sn", "-dn", "-af", KEEP_TIMES, "-f", "au", "-c:a", "pcm_s16be", "pipe:1",
        *with_pictures,
    ]  # fmt: skip


def _stop(decoded: Decoded, process: subprocess.Popen[bytes]) -> None:
    decoded.timed_out.set()
    process.kill()
