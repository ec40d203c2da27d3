"""Sound as the bytes of a file, and back through the reader."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import soundfile

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.reading import Audio, AudioOptions, open_audio

Samples = npt.NDArray[np.float32]
RATE = 16_000
NOISE: Samples = np.random.default_rng(3).normal(0, 0.1, 3 * RATE).astype(np.float32)


def encoded(samples: Samples, container: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def fed(data: bytes, piece_bytes: int = 1000) -> ByteFeed:
    feed = ByteFeed()
    for start in range(0, len(data), piece_bytes):
        feed.offer(data[start : start + piece_bytes])
    feed.close()
    return feed


def decoded(data: bytes, options: AudioOptions | None = None, piece_bytes: int = 1000) -> tuple[Samples, Audio]:
    with open_audio(fed(data, piece_bytes), options or AudioOptions()) as audio:
        return np.concatenate(list(audio.blocks())), audio
