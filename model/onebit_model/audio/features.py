"""Log-mel features: the one definition that training and the native front end share.

Whisper's log-mel (80 Slaney bins, 25 ms Hann window, 10 ms hop) with a constant floor instead of the
per-utterance maximum, because a stream must see the same numbers as the whole file.
"""

import numpy as np
from numpy.typing import NDArray

from onebit_model.config import MEL_BINS, MEL_FRAME_SAMPLES, OUTPUT_FRAME_SAMPLES, SAMPLE_RATE

WINDOW_SAMPLES = 400  # 25 ms
MEL_FLOOR = 1e-6  # power; log10 gives -6
SILENT_FEATURE = -0.5  # of the floor, normalised

FloatArray = NDArray[np.float32]


def hann_window() -> FloatArray:
    """Periodic Hann window, (400,) float32."""
    phase = 2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def _hertz_to_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear (3 mel per 200 Hz) below 1 kHz, logarithmic above."""
    linear = 3 * hertz / 200
    logarithmic = 15 + np.log(np.maximum(hertz, 1000) / 1000) * 27 / np.log(6.4)
    return np.where(hertz >= 1000, logarithmic, linear)


def _mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel >= 15, 1000 * np.exp((mel - 15) * np.log(6.4) / 27), 200 * mel / 3)


def mel_filterbank() -> FloatArray:
    """Triangular filters with unit area (Slaney), (80, 201) float32."""
    bins = np.linspace(0, SAMPLE_RATE / 2, WINDOW_SAMPLES // 2 + 1)
    top = _hertz_to_mel(np.array([SAMPLE_RATE / 2]))[0]
    edges = _mel_to_hertz(np.linspace(0, top, MEL_BINS + 2))
    rising = (bins[None, :] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None, :]) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return (np.maximum(0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)


def padded_samples(samples: int) -> int:
    """Length of a segment after zero-padding to a whole 40 ms frame."""
    return -(-samples // OUTPUT_FRAME_SAMPLES) * OUTPUT_FRAME_SAMPLES


def log_mel(audio: FloatArray) -> FloatArray:
    """Log-mel of one segment: (samples,) float32 at 16 kHz in [-1, 1] -> (frames, 80) float32.

    Frame t is centred on sample 160 t; samples outside the segment count as zero.
    """
    frames = padded_samples(len(audio)) // MEL_FRAME_SAMPLES
    half = WINDOW_SAMPLES // 2
    padded = np.zeros(frames * MEL_FRAME_SAMPLES + WINDOW_SAMPLES, np.float32)
    padded[half : half + len(audio)] = audio
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::MEL_FRAME_SAMPLES][:frames]
    power = np.abs(np.fft.rfft(windows * hann_window(), axis=1)) ** 2
    mel = power.astype(np.float32) @ mel_filterbank().T
    return ((np.log10(np.maximum(mel, MEL_FLOOR)) + 4) / 4).astype(np.float32)
