"""Audio as the model wants it: 16 kHz float32, one column per transcript, in blocks, from whatever was sent."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soxr

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.companding import VALUES
from onebit_model.audio.containers import Ending, Part, parts
from onebit_model.audio.downmix import Downmix
from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.sound_file import SampleReader
from onebit_model.config import SAMPLE_RATE
from onebit_model.errors import AudioTooLargeError, InvalidAudioError, MissingAudioError, UnsupportedMediaError

Channel = int | Literal["mix", "split"]
Samples = npt.NDArray[np.float32]

LOWEST_RATE = 1_000
HIGHEST_RATE = 768_000
MAXIMUM_CHANNELS = 64
PCM_BLOCK_BYTES = 1 << 15
# Far above full scale and far below where squares overflow.
LOUDEST = 8.0


# As numpy writes them, and what it does not know: 24 bits and the telephone's samples.
Encoding = Literal["u1", "<i2", ">i2", "<i3", "<i4", "<f4", "mulaw", "alaw"]


@dataclass(frozen=True)
class PcmFormat:
    """Headerless samples: `audio/L16` is big-endian by its definition, but almost nobody sends that (see parse)."""

    sample_rate: int
    channels: int
    encoding: Encoding = "<i2"

    def __post_init__(self) -> None:
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise UnsupportedMediaError(f"a sample rate of {self.sample_rate} Hz is not supported")
        if not 1 <= self.channels <= MAXIMUM_CHANNELS:
            raise UnsupportedMediaError(f"{self.channels} channels are not supported")

    @staticmethod
    def parse(content_type: str) -> PcmFormat | None:
        """From a content type; None when it does not name headerless PCM."""
        kind, _, rest = content_type.partition(";")
        if kind.strip().lower() not in ("audio/l16", "audio/x-raw"):
            return None
        parameters = {k.lower(): v for k, v in re.findall(r"([A-Za-z-]+)\s*=\s*\"?([^\s;\",]*)", rest)}
        known = {"rate", "channels", "format", "layout", "encoding", "endianness"}
        if unknown := sorted(set(parameters) - known):
            raise UnsupportedMediaError(f"unknown parameter of {kind.strip()}: {unknown[0]}")
        if empty := sorted(name for name, value in parameters.items() if not value):
            raise UnsupportedMediaError(f"parameter {empty[0]} of {kind.strip()} has no value")
        return PcmFormat(
            _whole(parameters, "rate", SAMPLE_RATE), _whole(parameters, "channels", 1), _encoding(parameters)
        )

    @property
    def is_whole_numbers(self) -> bool:
        return self.encoding != "<f4"

    @property
    def frame_bytes(self) -> int:
        return (1 if self.encoding in VALUES else int(self.encoding[-1])) * self.channels

    def decode(self, data: bytes) -> Samples:
        """Whole frames to (frames, channels) float32, whole numbers scaled to [-1, 1)."""
        if self.encoding in VALUES:
            return VALUES[self.encoding][np.frombuffer(data, np.uint8)].reshape(-1, self.channels)
        samples = _numbers(data, self.encoding).reshape(-1, self.channels).astype(np.float32)
        if self.encoding == "u1":
            samples -= 128
        if self.is_whole_numbers:
            # Three bytes come as the upper three of four.
            bits = 32 if self.encoding == "<i3" else 8 * int(self.encoding[-1])
            samples *= 2.0 ** (1 - bits)
        return samples


def _numbers(data: bytes, encoding: Encoding) -> npt.NDArray[Any]:
    if encoding != "<i3":
        return np.frombuffer(data, encoding)
    widened = np.zeros((len(data) // 3, 4), np.uint8)
    widened[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return widened.view("<i4")[:, 0]


def _whole(parameters: dict[str, str], name: str, default: int) -> int:
    text = parameters.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise UnsupportedMediaError(f"{name} must be a whole number, not {text!r}")
    return int(text[:9])


def _encoding(parameters: dict[str, str]) -> Encoding:
    name = parameters.get("format", parameters.get("encoding", "s16le")).lower()
    endianness = parameters.get("endianness", "little-endian").lower()
    if endianness not in ("little-endian", "big-endian"):
        raise UnsupportedMediaError(f"endianness {endianness!r} is not one of little-endian, big-endian")
    if endianness == "big-endian":
        name = name.removesuffix("le").removesuffix("be") + "be"
    encodings: dict[str, Encoding] = {
        "s16le": "<i2",
        "s16be": ">i2",
        "f32le": "<f4",
        "mulaw": "mulaw",
        "alaw": "alaw",
    }
    if name not in encodings:
        raise UnsupportedMediaError(f"sample format {name!r} is not one of {', '.join(encodings)}")
    return encodings[name]


class PcmReader:
    """The SampleReader of headerless samples."""

    def __init__(self, feed: ByteFeed, pcm: PcmFormat) -> None:
        if not feed.peek(1):
            raise MissingAudioError("there is no audio")
        self._feed = feed
        self._pcm = pcm
        self._rest = b""
        self.sample_rate = pcm.sample_rate
        self.channels = pcm.channels
        self.is_cut = False

    def read(self) -> Samples:
        data = self._rest
        while len(data) < self._pcm.frame_bytes:
            more = self._feed.read(PCM_BLOCK_BYTES)
            if not more:
                self.is_cut = bool(data)
                return np.zeros((0, self.channels), np.float32)
            data += more
        whole = len(data) - len(data) % self._pcm.frame_bytes
        self._rest = data[whole:]
        return self._pcm.decode(data[:whole])


@dataclass(frozen=True)
class AudioOptions:
    pcm: PcmFormat | None = None
    channel: Channel = "mix"
    maximum_seconds: float = float("inf")
    ffmpeg: Ffmpeg | None = None


class Audio:
    """Decoded audio that may still be arriving. One track (column) per transcript that is wanted of it.

    It may come in several parts: files that were joined, or the sound before and behind a hole in a file's time.
    """

    def __init__(self, parts: Iterator[Part], options: AudioOptions, warnings: set[str]) -> None:
        """`parts`: at least one; they may add to `warnings`."""
        self._part = next(parts)
        self._parts = parts
        self._options = options
        self._warnings = warnings
        self._seconds = 0.0
        reader = self._part.reader
        _check_form(reader)
        if isinstance(options.channel, int) and options.channel >= reader.channels:
            raise NoSuchChannelError(options.channel, reader.channels)
        self.tracks = reader.channels if options.channel == "split" else 1

    @property
    def duration_seconds(self) -> float:
        """How far it has been read, on the clock of the container."""
        return self._seconds

    @property
    def warnings(self) -> list[str]:
        """`truncated`, `incomplete`, `other_tracks`, `opposite_channels`, `channels_differ`: see docs/http.md."""
        return sorted(self._warnings)

    def blocks(self) -> Iterator[Samples]:
        """(samples, tracks) float32 at 16 kHz; raises AudioError in the middle when the audio turns out to be bad."""
        yield from self._blocks_of(self._part, is_first=True)
        for part in self._parts:
            try:
                _check_form(part.reader)
                yield from self._blocks_of(part, is_first=False)
            except UnsupportedMediaError:
                self._warnings.add("incomplete")

    def _blocks_of(self, part: Part, is_first: bool) -> Iterator[Samples]:
        reader, selection = part.reader, Selection(self._options.channel, self.tracks, part.reader)
        resampler = Resampler(reader.sample_rate, self.tracks)
        begin_seconds, frames = self._seconds, 0
        while len(block := reader.read()):
            if not frames and is_first:
                yield from self._silence(part.start_seconds())
                begin_seconds = self._seconds
            frames += len(block)
            self._advance(begin_seconds + frames / reader.sample_rate)
            if not np.isfinite(block).all():
                raise InvalidAudioError("the audio holds samples that are not finite numbers")
            yield resampler.push(selection.push(np.clip(block, -LOUDEST, LOUDEST)))
        yield resampler.push(selection.finish())
        yield resampler.finish()
        self._warnings |= selection.warnings
        ending = part.at_end(frames / reader.sample_rate)
        self._warnings |= ending.warnings
        yield from self._silence(ending.hole_seconds)

    def _silence(self, seconds: float) -> Iterator[Samples]:
        samples = round(seconds * SAMPLE_RATE)
        self._advance(self._seconds + seconds)
        while samples > 0:
            block = np.zeros((min(samples, SAMPLE_RATE), self.tracks), np.float32)
            samples -= len(block)
            yield block

    def _advance(self, seconds: float) -> None:
        self._seconds = seconds
        if seconds > self._options.maximum_seconds:
            raise AudioTooLargeError(f"the audio is longer than {self._options.maximum_seconds:g} seconds")


def _check_form(reader: SampleReader) -> None:
    if not LOWEST_RATE <= reader.sample_rate <= HIGHEST_RATE:
        raise UnsupportedMediaError(f"a sample rate of {reader.sample_rate} Hz is not supported")
    if not 1 <= reader.channels <= MAXIMUM_CHANNELS:
        raise UnsupportedMediaError(f"{reader.channels} channels are not supported")


class Selection:
    """The tracks that are wanted of one part's channels. A part may have other channels than the first one had."""

    def __init__(self, channel: Channel, tracks: int, reader: SampleReader) -> None:
        wanted = range(tracks) if channel == "split" else () if channel == "mix" else (channel,)
        self._held = [number for number in wanted if number < reader.channels]
        self._missing = len(wanted) - len(self._held)
        self._lost = channel == "split" and reader.channels > tracks
        self._downmix = Downmix(reader.sample_rate, reader.channels) if channel == "mix" else None

    @property
    def warnings(self) -> set[str]:
        differ = {"channels_differ"} if self._missing or self._lost else set()
        return differ | ({"opposite_channels"} if self._downmix is not None and self._downmix.has_left_out else set())

    def push(self, block: Samples) -> Samples:
        """(frames, channels) to (frames, tracks), some of them with the next block; a missing channel is silent."""
        if self._downmix is not None:
            return self._downmix.push(block) if block.shape[1] > 1 else block
        held = block[:, self._held]
        return np.pad(held, ((0, 0), (0, self._missing))) if self._missing else held

    def finish(self) -> Samples:
        empty = np.zeros((0, len(self._held) + self._missing), np.float32)
        return empty if self._downmix is None else self._downmix.finish()


class NoSuchChannelError(InvalidAudioError):
    def __init__(self, channel: int, channels: int) -> None:
        held = "one channel, which is channel 0" if channels == 1 else f"channels 0 to {channels - 1}"
        super().__init__(f"there is no channel {channel}: the audio has {held}")


class Resampler:
    """To 16 kHz, block by block; the result does not depend on how the audio was cut into blocks."""

    def __init__(self, sample_rate: int, tracks: int = 1) -> None:
        self._tracks = tracks
        self._stream = (
            soxr.ResampleStream(sample_rate, SAMPLE_RATE, tracks, dtype="float32")
            if sample_rate != SAMPLE_RATE
            else None
        )

    def push(self, block: Samples) -> Samples:
        return block if self._stream is None else self._resampled(block, last=False)

    def finish(self) -> Samples:
        empty = np.zeros((0, self._tracks), np.float32)
        return empty if self._stream is None else self._resampled(empty, last=True)

    def _resampled(self, block: Samples, last: bool) -> Samples:
        assert self._stream is not None
        # soxr gives one-dimensional arrays for one channel only if it was given one.
        output: Samples = self._stream.resample_chunk(np.ascontiguousarray(block), last=last)
        return output.reshape(-1, self._tracks)


@contextmanager
def open_audio(feed: ByteFeed, options: AudioOptions) -> Iterator[Audio]:
    warnings: set[str] = set()
    opened = parts(feed, options.ffmpeg, warnings) if options.pcm is None else _headerless(feed, options.pcm)
    with closing(opened):
        yield Audio(opened, options, warnings)


def _headerless(feed: ByteFeed, pcm: PcmFormat) -> Generator[Part]:
    reader = PcmReader(feed, pcm)
    yield Part(reader, lambda _: Ending({"truncated"} if reader.is_cut else set()))
