"""Where a training step's audio comes from: read clip by clip, or all of it held in the device's memory."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from onebit_model.config import MAXIMUM_SEGMENT_SAMPLES, OUTPUT_FRAME_SAMPLES, SAMPLE_RATE
from onebit_model.data.augmentation import Augmenter, spec_augment
from onebit_model.data.batching import GRID_SAMPLES, Item, JoinConfig
from onebit_model.data.corpora import Utterance
from onebit_model.network.conformer import Conformer
from onebit_model.network.frontend import LogMel

FULL_SCALE = 32768.0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Inputs:
    """A batch as the network takes it; lengths are kept on the CPU, too, where CTC wants them."""

    mel: Tensor  # (batch, time, mel_bins) float32
    mel_frames: Tensor  # (batch,) int64, on the CPU
    chunk: int
    unmasked: Tensor  # `mel` without SpecAugment's masks

    @property
    def frames(self) -> Tensor:
        """Valid output frames, (batch,), on the CPU."""
        return self.mel_frames // 4

    def encode(self, network: Conformer) -> Tensor:
        """(batch, frames, d_model)."""
        mel_frames = self.mel_frames.to(self.mel.device, non_blocking=True)
        hidden = network.lower(self.mel, mel_frames, self.chunk, network.config.average_after)
        return network.upper(hidden, mel_frames // 4, self.chunk)


class ClipStore(Protocol):
    """Clips by their position in the training set."""

    @property
    def device(self) -> torch.device: ...

    def clip(self, index: int) -> Tensor:
        """(samples,) float32 at 16 kHz on `device`."""
        ...


@dataclass(frozen=True)
class ReadClips:
    """Decodes a clip whenever it is wanted: for corpora larger than memory."""

    utterances: Sequence[Utterance]
    device: torch.device = CPU

    def clip(self, index: int) -> Tensor:
        return torch.from_numpy(self.utterances[index].audio.read())


class ResidentClips:
    """All clips in 16 bit on the device: 115 MB an hour."""

    def __init__(self, utterances: Sequence[Utterance], device: torch.device, threads: int = 8) -> None:
        self.device = device
        with ThreadPoolExecutor(threads) as pool:
            clips = list(pool.map(lambda u: _sixteen_bit(u.audio.read()), utterances))
        ends = np.cumsum([len(clip) for clip in clips])
        self.bounds = list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
        self.samples = torch.from_numpy(np.concatenate(clips)).to(device)

    def clip(self, index: int) -> Tensor:
        start, end = self.bounds[index]
        return self.samples[start:end].float() / FULL_SCALE


def _sixteen_bit(samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.clip(np.round(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


@dataclass(frozen=True)
class Heard:
    """A batch of audio: (batch, samples) float32 on the store's device and (batch,) int64 on the CPU."""

    audio: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Source:
    """Joins, augments and transforms clips; draws the chunk size of the batch."""

    clips: ClipStore
    augmenter: Augmenter
    join: JoinConfig
    chunks: tuple[int, ...]
    front_end: LogMel

    def hear(self, items: Sequence[Item], rng: np.random.Generator) -> Heard:
        rows = [self._row(item, rng) for item in items]
        lengths = torch.tensor([end for _, end in rows])
        audio = torch.zeros(len(rows), int(lengths.max()), device=self.clips.device)
        for row, (placed, _) in zip(audio, rows, strict=True):
            for start, clip in placed:
                row[start : start + len(clip)] = clip
        audio, lengths = self.augmenter(audio, lengths, rng)
        lengths = lengths.clamp(max=MAXIMUM_SEGMENT_SAMPLES)
        padded = -(-int(lengths.max()) // GRID_SAMPLES) * GRID_SAMPLES
        audio = torch.nn.functional.pad(audio, (0, max(0, padded - audio.shape[1])))[:, :padded]
        return Heard(audio, lengths)

    def _row(self, item: Item, rng: np.random.Generator) -> tuple[list[tuple[int, Tensor]], int]:
        """Clips with their places, and the samples of the whole row."""
        place = int(rng.uniform(*self.join.edge_seconds) * SAMPLE_RATE)
        placed = []
        for number, index in enumerate(item):
            if number:
                place += int(rng.uniform(*self.join.gap_seconds) * SAMPLE_RATE)
            clip = self.clips.clip(index)
            placed.append((place, clip))
            place += len(clip)
        return placed, place + int(rng.uniform(*self.join.edge_seconds) * SAMPLE_RATE)

    def features(self, heard: Heard, device: torch.device, rng: np.random.Generator) -> Inputs:
        """Log-mel with SpecAugment's masks; seeds torch's own generator, from which these come."""
        torch.manual_seed(int(rng.integers(1 << 62)))
        audio = heard.audio.to(device, non_blocking=True)
        front_end = self.front_end.to(device)
        mel, _ = front_end(audio, heard.lengths.to(device))
        masked = spec_augment(mel, self.augmenter.config)
        frames = -(-heard.lengths // OUTPUT_FRAME_SAMPLES) * 4
        return Inputs(masked, frames, int(rng.choice(self.chunks)), mel)


def output_frames(duration_seconds: float) -> int:
    """40 ms frames of a clip."""
    return -(-round(duration_seconds * SAMPLE_RATE) // OUTPUT_FRAME_SAMPLES)
