"""ffmpeg for the containers that libsndfile does not read: a child process, bounded in time, memory and reach.

Its input is a finished temporary file, its demuxer is chosen here by the file's first bytes: a playlist, which could
name other files or addresses, is never opened.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from onebit_model.errors import UnsupportedMediaError

MEMORY_BYTES = 2 << 30
MESSAGES_BYTES = 1 << 16
# What the demuxers of MP4 and Matroska say when the file is shorter than it should be; others cannot know.
SIGNS_OF_A_MISSING_END = ("partial file", "File ended prematurely")


def ffmpeg_container(head: bytes) -> str | None:
    """The name of ffmpeg's demuxer for this beginning of a file, None where ffmpeg is not needed."""
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    magics = {b"\x1a\x45\xdf\xa3": "matroska", b"\x30\x26\xb2\x75": "asf", b"#!AMR": "amr", b"FLV\x01": "flv"}
    return next((name for magic, name in magics.items() if head.startswith(magic)), None)


@dataclass(frozen=True)
class Decoded:
    output: int
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def at_end(self) -> bool:
        status = self.process.wait()
        self.errors.seek(0)
        messages = self.errors.read(MESSAGES_BYTES).decode(errors="replace").strip()
        if status == 0:
            return any(sign in messages for sign in SIGNS_OF_A_MISSING_END)
        last_line = messages.rpartition("\n")[2]
        raise UnsupportedMediaError(f"ffmpeg cannot decode the audio: {last_line or 'it ran out of time or memory'}")


@dataclass(frozen=True)
class Ffmpeg:
    program: str
    maximum_seconds: float

    @staticmethod
    def find(name: str, maximum_seconds: float) -> Ffmpeg | None:
        program = shutil.which(name) if name else None
        return Ffmpeg(program, maximum_seconds) if program else None

    @contextmanager
    def decode(self, file: IO[bytes], container: str) -> Iterator[Decoded]:
        path = f"/proc/self/fd/{file.fileno()}"
        command = [
            self.program, "-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1",
            "-protocol_whitelist", "file", "-f", container, "-i", f"file:{path}",
            "-map", "0:a:0", "-vn", "-f", "au", "-c:a", "pcm_s16be", "pipe:1",
        ]  # fmt: skip
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env={},
                # A message too many must be lost, not end the process: SIGXFSZ stays ignored, as Python has it.
                pass_fds=[file.fileno()], restore_signals=False,
            )  # fmt: skip
            assert process.stdout is not None
            self._limit(process.pid)
            clock = threading.Timer(self.maximum_seconds, process.kill)
            clock.start()
            try:
                yield Decoded(process.stdout.fileno(), process, errors)
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
