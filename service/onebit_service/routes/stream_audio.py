"""The audio of a stream: samples as `start` has announced them, or a file in their place."""

from __future__ import annotations

import asyncio
import contextlib
import resource

import numpy as np
import numpy.typing as npt

from onebit_model.audio.downmix import Downmix
from onebit_model.audio.ffmpeg import KEEP_TIMES
from onebit_model.audio.reading import Encoding, PcmFormat, Resampler
from onebit_model.config import SAMPLE_RATE
from onebit_model.errors import InvalidAudioError
from onebit_service.errors import WrongFrameError
from onebit_service.routes.stream_messages import StreamEncoding

Samples = npt.NDArray[np.float32]

# Packets are collected up to this length before they are converted: tiny ones would cost more than their audio.
GATHER_SECONDS = 0.01
ENCODINGS: dict[StreamEncoding, Encoding] = {"s16le": "<i2", "f32le": "<f4", "mulaw": "mulaw", "alaw": "alaw"}


class PacketDecoder:
    """Packets of any length to 16 kHz mono; what is cut off in the middle of a sample waits for its rest."""

    def __init__(self, sample_rate: int, channels: int, encoding: StreamEncoding) -> None:
        self._pcm = PcmFormat(sample_rate, channels, ENCODINGS[encoding])
        self._resampler = Resampler(sample_rate)
        self._downmix = Downmix(sample_rate, channels) if channels > 1 else None
        self._waiting = bytearray()
        self._frame_bytes = self._pcm.frame_bytes
        self._gather_bytes = int(GATHER_SECONDS * sample_rate) * self._frame_bytes
        self.frames = 0

    @property
    def seconds(self) -> float:
        """Audio taken in so far."""
        return self.frames / self._pcm.sample_rate

    def seconds_of(self, packet: bytes) -> float:
        return len(packet) / self._frame_bytes / self._pcm.sample_rate

    def bytes_of(self, seconds: float) -> int:
        return int(seconds * self._pcm.sample_rate) * self._frame_bytes

    def push(self, packet: bytes) -> Samples:
        self._waiting += packet
        return self._convert() if len(self._waiting) >= self._gather_bytes else np.zeros(0, np.float32)

    def flush(self, last: bool) -> Samples:
        parts = [self._convert()]
        if self._downmix is not None:
            parts.append(self._resampler.push(self._downmix.finish())[:, 0])
        if last:
            parts.append(self._resampler.finish()[:, 0])
        return np.concatenate(parts)

    @property
    def holds_part_of_sample(self) -> bool:
        return bool(self._waiting)

    @property
    def has_opposite_channels(self) -> bool:
        return self._downmix is not None and self._downmix.has_left_out

    def _convert(self) -> Samples:
        whole = len(self._waiting) - len(self._waiting) % self._frame_bytes
        block = self._pcm.decode(bytes(self._waiting[:whole]))
        del self._waiting[:whole]
        self.frames += len(block)
        if not self._pcm.is_whole_numbers:
            if not np.isfinite(block).all():
                raise InvalidAudioError("the audio holds samples that are not finite numbers")
            block = np.clip(block, -1, 1)
        mono = block if self._downmix is None else self._downmix.push(block)
        return self._resampler.push(mono)[:, 0]


# What a file begins with, what people call it, and ffmpeg's name for it. Samples hardly ever begin like this.
CONTAINERS = (
    (0, b"\x1a\x45\xdf\xa3", "WebM", "matroska"),
    (0, b"OggS", "Ogg", "ogg"),
    (4, b"ftyp", "MP4", "mov"),
    (0, b"RIFF", "WAV", "wav"),
    (0, b"fLaC", "FLAC", "flac"),
)
MEMORY_BYTES = 1 << 30
READ_BYTES = 1 << 15


class ContainerStream:
    """A file that is decoded as it arrives, by ffmpeg: bounded in memory and time, and given nothing but its input."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._name = name
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self.ended = asyncio.Event()

    @staticmethod
    def name_of(packet: bytes) -> str | None:
        """By the first message of a stream: what kind of file it begins, if it does."""
        return next((name for at, magic, name, _ in CONTAINERS if packet[at : at + len(magic)] == magic), None)

    @staticmethod
    async def open(name: str, program: str | None, maximum_seconds: float) -> ContainerStream:
        """Raises WrongFrameError, with the name of what was sent, where nothing here can decode it."""
        if program is None:
            raise WrongFrameError(f"this is a {name} file; without ffmpeg this server takes samples only")
        demuxer = next(demuxer for _, _, known, demuxer in CONTAINERS if known == name)
        command = [
            program, "-nostdin", "-hide_banner", "-loglevel", "quiet", "-threads", "1",
            # Without these it would collect seconds of audio before it gave any.
            "-fflags", "nobuffer", "-flags", "low_delay", "-probesize", "32", "-analyzeduration", "0",
            "-protocol_whitelist", "pipe", "-f", demuxer, "-i", "pipe:0",
            "-map", "0:a:0", "-vn", "-af", KEEP_TIMES,
            "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-flush_packets", "1", "pipe:1",
        ]  # fmt: skip
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=nowhere, env={})
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (int(maximum_seconds) + 1,) * 2)
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY_BYTES,) * 2)
        return ContainerStream(name, process)

    async def push(self, packet: bytes) -> None:
        """Waits while enough of it is on its way."""
        # A process that has ended says why by its status, once its output has been read (uvloop: RuntimeError).
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            self._input.write(packet)
            await self._input.drain()

    def end(self) -> None:
        """No more will come."""
        self._input.close()
        self.ended.set()

    async def read(self) -> bytes:
        """s16le, mono, 16 kHz; nothing at the end."""
        return await self._output.read(READ_BYTES)

    def check(self, frames: int) -> None:
        """After the end: raises WrongFrameError where nothing came of it."""
        if not frames:
            raise WrongFrameError(
                f"this {self._name} file cannot be decoded as it arrives: it is damaged, or its index is at its end"
            )

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
