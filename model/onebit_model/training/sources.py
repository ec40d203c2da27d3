"""Where a training step's inputs come from: cached outputs of frozen blocks, or augmented audio."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onebit_model.config import OUTPUT_FRAME_SAMPLES, SAMPLE_RATE
from onebit_model.data.augmentation import AugmentConfig, WaveformAugmenter, mask_frequency, mask_time
from onebit_model.data.batching import pad_audio
from onebit_model.data.corpora import Utterance
from onebit_model.network.conformer import Conformer
from onebit_model.network.frontend import LogMel
from onebit_model.training.feature_cache import FeatureCache
from onebit_model.training.recipe import FeatureMasking

MEL_RATE = 100  # frames a second


@dataclass(frozen=True)
class Inputs:
    """A batch: `encode` runs a network from wherever these inputs enter it to the encoder output."""

    values: Tensor  # (batch, time, mel_bins) log-mel or (batch, frames, d_model) hidden, float32
    lengths: Tensor  # (batch,) valid mel frames or hidden frames
    chunk: int
    start_block: int | None  # None: log-mel

    @property
    def frames(self) -> Tensor:
        """Valid output frames, (batch,)."""
        return self.lengths // 4 if self.start_block is None else self.lengths

    def encode(self, network: Conformer) -> Tensor:
        """(batch, frames, d_model)."""
        if self.start_block is not None:
            return network.upper(self.values, self.lengths, self.chunk, self.start_block)
        boundary = network.config.average_after
        hidden = network.lower(self.values, self.lengths, self.chunk, boundary)
        return network.upper(hidden, self.frames, self.chunk)

    def to(self, device: torch.device) -> "Inputs":
        return Inputs(self.values.to(device), self.lengths.to(device), self.chunk, self.start_block)


Source = Callable[[Sequence[int], np.random.Generator], Inputs]


@dataclass(frozen=True)
class CachedSource:
    """Draws one cached version per batch; masks and perturbs its rows."""

    caches: tuple[FeatureCache, ...]
    chunks: tuple[int, ...]
    masking: FeatureMasking
    after_block: int

    def __call__(self, indices: Sequence[int], rng: np.random.Generator) -> Inputs:
        version = int(rng.integers(len(self.caches)))
        hidden, frames = self.caches[version].batch(indices)
        masking = self.masking
        if masking.noise:
            noise = torch.from_numpy(rng.standard_normal(hidden.shape, np.float32))
            hidden = hidden + masking.noise * hidden.std() * noise
        hidden = mask_time(hidden, frames, masking.masks, masking.mask_frames, rng)
        return Inputs(hidden, frames, self.chunks[version], self.after_block)


@dataclass(frozen=True)
class AudioSource:
    """Reads, augments and transforms audio; draws the chunk size of the batch."""

    utterances: Sequence[Utterance]
    augmenter: WaveformAugmenter
    chunks: tuple[int, ...]
    front_end: LogMel

    def __call__(self, indices: Sequence[int], rng: np.random.Generator) -> Inputs:
        clips = [self.augmenter(self.utterances[i].audio.read(), rng) for i in indices]
        mel, frames = self.front_end(*pad_audio(clips))
        mel = spec_augment(mel, frames, self.augmenter.config, rng)
        return Inputs(mel, frames, int(rng.choice(self.chunks)), None)


def spec_augment(mel: Tensor, frames: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """SpecAugment's masks on (batch, time, mel_bins); no time span takes more than a fifth of a clip."""
    if config.frequency_masks:
        mel = mask_frequency(mel, config.frequency_masks, config.frequency_mask_bins, rng)
    if config.time_masks:
        mel = mask_time(mel, frames, config.time_masks, int(config.time_mask_seconds * MEL_RATE), rng)
    return mel


def output_frames(duration_seconds: float) -> int:
    """40 ms frames of a clip."""
    return -(-round(duration_seconds * SAMPLE_RATE) // OUTPUT_FRAME_SAMPLES)
