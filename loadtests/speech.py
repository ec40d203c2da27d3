"""Real speech to send: clips of a shipped reference set, as the bytes that go over the wire."""

from __future__ import annotations

import numpy as np

from onebit_model.data.reference import read_set

SAMPLE_RATE = 16_000
BYTES_PER_SECOND = 2 * SAMPLE_RATE
SET = "librispeech-other"
PAUSE_SECONDS = 0.3


def pcm_clips(count: int, shortest_seconds: float = 0.0) -> list[bytes]:
    """s16le at 16 kHz; utterances are joined, with a short pause, until each clip is long enough."""
    clips: list[bytes] = []
    clip = b""
    for utterance in read_set(SET):
        clip += _pcm(utterance.audio.read())
        if len(clip) >= shortest_seconds * BYTES_PER_SECOND:
            clips.append(clip)
            clip = b""
        if len(clips) == count:
            return clips
        clip += b"\0" * (int(PAUSE_SECONDS * SAMPLE_RATE) * 2 if clip else 0)
    return [*clips, clip] if clip else clips


def _pcm(samples: np.ndarray) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def samples_of(pcm: bytes) -> np.ndarray:
    """(samples,) float32, as a server makes them of s16le."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


def long_recording(seconds: float) -> bytes:
    """One after the other, and again from the start, up to this length."""
    clips = pcm_clips(1000)
    pause = b"\0" * int(PAUSE_SECONDS * SAMPLE_RATE) * 2
    whole = pause.join(clips)
    length = int(seconds * SAMPLE_RATE) * 2
    return (whole * (length // len(whole) + 1))[:length]
