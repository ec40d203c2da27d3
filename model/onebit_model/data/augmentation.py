"""Waveform and feature augmentation through torchaudio; every draw comes from one seeded generator."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onebit_model.config import MAXIMUM_SEGMENT_SAMPLES, SAMPLE_RATE
from onebit_model.data.corpora import AudioSpan
from onebit_model.data.torchaudio_pure import load_torchaudio
from onebit_model.errors import CorpusError

torchaudio = load_torchaudio()

TELEPHONE_RATE = 8_000


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities and ranges of the waveform augmentation, and the sizes of SpecAugment's masks."""

    speeds: tuple[float, ...] = (1.0,)
    noise_probability: float = 0.0
    snr_decibel: tuple[float, float] = (5.0, 30.0)
    telephone_probability: float = 0.0
    reverberation_probability: float = 0.0
    reverberation_seconds: tuple[float, float] = (0.1, 0.5)
    gain_decibel: float = 0.0
    time_masks: int = 0
    time_mask_seconds: float = 0.4
    frequency_masks: int = 0
    frequency_mask_bins: int = 20


def read_noises(folder: Path) -> list[Tensor]:
    """Background recordings, each (samples,) float32 at 16 kHz; raises CorpusError where there are none."""
    files = sorted(p for p in folder.iterdir() if p.suffix in {".opus", ".ogg", ".wav", ".flac"})
    if not files:
        raise CorpusError(f"no noise recordings in {folder}")
    return [torch.from_numpy(AudioSpan(path).read()) for path in files]


class WaveformAugmenter:
    """Speed, reverberation, noise, telephone band and gain, in the order that a room and a line apply them."""

    def __init__(self, config: AugmentConfig, noises: list[Tensor]) -> None:
        self.config = config
        self.noises = noises

    def __call__(self, samples: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """(samples,) float32 -> (other samples,) float32, never longer than a segment."""
        config = self.config
        audio = torch.from_numpy(samples)
        speed = float(rng.choice(config.speeds))
        if speed != 1.0 and len(audio) <= speed * MAXIMUM_SEGMENT_SAMPLES:  # slower than that, words would be cut off
            audio = change_speed(audio, speed)
        if rng.random() < config.reverberation_probability:
            audio = reverberate(audio, rng.uniform(*config.reverberation_seconds), rng)
        if self.noises and rng.random() < config.noise_probability:
            audio = self._add_noise(audio, rng.uniform(*config.snr_decibel), rng)
        if rng.random() < config.telephone_probability:
            audio = telephone_band(audio)
        if config.gain_decibel:
            audio = audio * 10 ** (rng.uniform(-config.gain_decibel, config.gain_decibel) / 20)
        return np.asarray(audio[:MAXIMUM_SEGMENT_SAMPLES].numpy(), np.float32)

    def _add_noise(self, audio: Tensor, snr: float, rng: np.random.Generator) -> Tensor:
        noise = self.noises[rng.integers(len(self.noises))]
        repeats = -(-len(audio) // len(noise)) + 1
        start = int(rng.integers(len(noise)))
        excerpt = noise.repeat(repeats)[start : start + len(audio)]
        return torchaudio.functional.add_noise(audio, excerpt, torch.tensor(snr))


def change_speed(audio: Tensor, speed: float) -> Tensor:
    """Play faster by `speed`; pitch follows, as in speed perturbation (Ko et al. 2015)."""
    return torchaudio.transforms.SpeedPerturbation(SAMPLE_RATE, [speed])(audio)[0]


def telephone_band(audio: Tensor) -> Tensor:
    """8 kHz sampling and back."""
    narrow = torchaudio.functional.resample(audio, SAMPLE_RATE, TELEPHONE_RATE)
    return torchaudio.functional.resample(narrow, TELEPHONE_RATE, SAMPLE_RATE)[: len(audio)]


def reverberate(audio: Tensor, seconds: float, rng: np.random.Generator) -> Tensor:
    """Convolve with an exponentially decaying noise tail that falls by 60 dB in `seconds`."""
    count = int(seconds * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(count) / count)
    tail = rng.standard_normal(count) * decay
    tail *= rng.uniform(0.2, 0.8) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    response = torch.from_numpy(tail.astype(np.float32))
    return torchaudio.functional.fftconvolve(audio, response)[: len(audio)]


def mask_time(features: Tensor, frames: Tensor, masks: int, width: int, rng: np.random.Generator) -> Tensor:
    """Replace up to `masks` spans of at most `width` frames of each (batch, time, dim) row by its mean."""
    features = features.clone()
    for row, count in enumerate(frames.tolist()):
        fill = features[row, :count].mean(dim=0)
        for _ in range(masks):
            span = int(rng.integers(0, max(1, min(width, count // 5)) + 1))
            start = int(rng.integers(0, max(1, count - span)))
            features[row, start : start + span] = fill
    return features


def mask_frequency(features: Tensor, masks: int, bins: int, rng: np.random.Generator) -> Tensor:
    """Zero up to `masks` bands of at most `bins` mel bins of each (batch, time, mel) row (SpecAugment)."""
    features = features.clone()
    for row in range(features.shape[0]):
        for _ in range(masks):
            span = int(rng.integers(0, bins + 1))
            start = int(rng.integers(0, features.shape[2] - span + 1))
            features[row, :, start : start + span] = 0.0
    return features
