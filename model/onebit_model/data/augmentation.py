"""Augmentation of padded batches through torchaudio, on the device that trains; every draw is seeded."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onebit_model.config import MAXIMUM_SEGMENT_SAMPLES, SAMPLE_RATE
from onebit_model.data.corpora import AudioSpan
from onebit_model.data.torchaudio_pure import load_torchaudio
from onebit_model.errors import CorpusError

torchaudio = load_torchaudio()

TELEPHONE_RATE = 8_000
MEL_RATE = 100  # frames a second


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
    quiet_probability: float = 0.0
    quiet_decibel: tuple[float, float] = (-40.0, -15.0)
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


class Augmenter:
    """Speed, reverberation, noise, telephone band and gain, in the order that a room and a line apply them."""

    def __init__(self, config: AugmentConfig, noises: list[Tensor], device: torch.device | None = None) -> None:
        self.config = config
        self.device = device or torch.device("cpu")
        self.noise = torch.cat(noises).to(self.device) if noises else None

    def __call__(self, audio: Tensor, lengths: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(batch, samples) float32 and (batch,) int64 on the CPU -> the same, heard elsewhere.

        One speed for the batch; the rest is drawn for each clip. Padding stays zero.
        """
        config, clips = self.config, len(audio)
        speed = float(rng.choice(config.speeds))
        if speed != 1.0 and lengths.max() <= speed * MAXIMUM_SEGMENT_SAMPLES:  # slower, words would be cut off
            audio, lengths = change_speed(audio, lengths, speed)
        if (rows := self._drawn(config.reverberation_probability, clips, rng)).numel():
            audio[rows] = reverberate(audio[rows], rng.uniform(*config.reverberation_seconds), rng)
        if self.noise is not None and (rows := self._drawn(config.noise_probability, clips, rng)).numel():
            audio[rows] = self._add_noise(audio[rows], lengths[rows.cpu()], rng)
        if (rows := self._drawn(config.telephone_probability, clips, rng)).numel():
            audio[rows] = telephone_band(audio[rows])
        audio = audio * self._gains(clips, rng)
        valid = torch.arange(audio.shape[1], device=self.device)[None, :] < lengths.to(self.device)[:, None]
        return audio * valid, lengths

    def _drawn(self, probability: float, clips: int, rng: np.random.Generator) -> Tensor:
        """Which clips a probability hits."""
        return torch.from_numpy(np.flatnonzero(rng.random(clips) < probability)).to(self.device)

    def _gains(self, clips: int, rng: np.random.Generator) -> Tensor:
        config = self.config
        decibel = rng.uniform(-config.gain_decibel, config.gain_decibel, clips)
        quiet = rng.random(clips) < config.quiet_probability
        decibel = np.where(quiet, rng.uniform(*config.quiet_decibel, clips), decibel)
        return torch.from_numpy((10 ** (decibel / 20)).astype(np.float32)).to(self.device)[:, None]

    def _add_noise(self, audio: Tensor, lengths: Tensor, rng: np.random.Generator) -> Tensor:
        assert self.noise is not None
        starts = torch.from_numpy(rng.integers(len(self.noise), size=len(audio))).to(self.device)
        index = (starts[:, None] + torch.arange(audio.shape[1], device=self.device)) % len(self.noise)
        snr = torch.from_numpy(rng.uniform(*self.config.snr_decibel, len(audio)).astype(np.float32))
        return torchaudio.functional.add_noise(
            audio, self.noise[index], snr.to(self.device), lengths.to(self.device)
        ).nan_to_num(0.0)  # a clip of zeros has no ratio to anything


def change_speed(audio: Tensor, lengths: Tensor, speed: float) -> tuple[Tensor, Tensor]:
    """Play faster by `speed`; pitch follows, as in speed perturbation (Ko et al. 2015)."""
    ratio = Fraction(speed).limit_denominator(100)
    changed = torchaudio.functional.resample(audio, ratio.numerator, ratio.denominator)
    shorter = (lengths * ratio.denominator + ratio.numerator - 1) // ratio.numerator
    return changed, shorter.clamp(max=changed.shape[1])


def telephone_band(audio: Tensor) -> Tensor:
    """8 kHz sampling and back, (..., samples)."""
    narrow = torchaudio.functional.resample(audio, SAMPLE_RATE, TELEPHONE_RATE)
    return torchaudio.functional.resample(narrow, TELEPHONE_RATE, SAMPLE_RATE)[..., : audio.shape[-1]]


def reverberate(audio: Tensor, seconds: float, rng: np.random.Generator) -> Tensor:
    """Convolve each of (clips, samples) with an exponentially decaying noise tail that falls by 60 dB in `seconds`."""
    count = int(seconds * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(count) / count)
    tails = rng.standard_normal((len(audio), count)) * decay
    tails *= rng.uniform(0.2, 0.8, (len(audio), 1)) / np.sqrt((tails**2).sum(axis=1, keepdims=True))
    tails[:, 0] = 1.0
    # Zeros behind the tails: transforms of few sizes, because a GPU prepares each new one.
    whole = 1 << (audio.shape[1] + count - 2).bit_length()
    responses = np.zeros((len(audio), whole + 1 - audio.shape[1]), np.float32)
    responses[:, :count] = tails
    convolved = torchaudio.functional.fftconvolve(audio, torch.from_numpy(responses).to(audio.device))
    return convolved[:, : audio.shape[1]]


def spec_augment(mel: Tensor, config: AugmentConfig) -> Tensor:
    """SpecAugment's masks of zeros (Park et al. 2019) on (batch, time, mel_bins), drawn from torch's own generator.

    No span takes more than a fifth of the batch's length.
    """
    width = min(int(config.time_mask_seconds * MEL_RATE), mel.shape[1] // 5)
    masked = mel[:, None]  # torchaudio wants channels
    for masks, size, axis in ((config.time_masks, width, 2), (config.frequency_masks, config.frequency_mask_bins, 3)):
        for _ in range(masks if size > 0 else 0):
            masked = torchaudio.functional.mask_along_axis_iid(masked, size, 0.0, axis)
    return masked[:, 0]
