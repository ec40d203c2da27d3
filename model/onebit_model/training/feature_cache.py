"""Outputs of the frozen lower part of the network, kept on disk as float16 at 25 frames a second.

One cache holds one version of a list of utterances: one draw of the augmentation and one chunk size.
92 MB an hour of speech at d_model 512.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from onebit_model.config import OUTPUT_FRAME_SAMPLES, SAMPLE_RATE
from onebit_model.data.augmentation import WaveformAugmenter
from onebit_model.data.batching import GRID_SAMPLES, epoch_batches, pad_audio, round_up
from onebit_model.data.corpora import Utterance
from onebit_model.network.conformer import Conformer
from onebit_model.network.frontend import LogMel
from onebit_model.network.mixed_precision import mixed_precision

ENCODER = -1  # as `after_block`: the final norm's output


@dataclass(frozen=True)
class CacheKey:
    """What a cache holds; another key is another file."""

    network_sha256: str
    after_block: int
    chunk: int
    seed: int
    augment: str  # repr of the AugmentConfig
    utterances_sha256: str

    @property
    def name(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


class FeatureCache:
    """Read-only (frames, dim) float16 rows of each utterance."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.frames = np.load(folder / "frames.npy")
        self._ends = np.cumsum(self.frames)
        self._rows = np.memmap(folder / "rows.f16", np.float16, "r", shape=(int(self._ends[-1]), dim))

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, index: int) -> NDArray[np.float16]:
        """(frames, dim) float16 of the utterance at `index`."""
        end = int(self._ends[index])
        return self._rows[end - int(self.frames[index]) : end]

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Zero-padded (batch, frames, dim) float32, on the grid of batches, and the valid frames (batch,) int64."""
        frames = torch.from_numpy(self.frames[list(indices)].astype(np.int64))
        longest = round_up(int(frames.max()), GRID_SAMPLES // OUTPUT_FRAME_SAMPLES)
        padded = torch.zeros(len(indices), longest, self._rows.shape[1])
        for row, index in enumerate(indices):
            padded[row, : self.frames[index]] = torch.from_numpy(self.rows(index).astype(np.float32))
        return padded, frames


def utterances_digest(utterances: Sequence[Utterance]) -> str:
    return hashlib.sha256("\n".join(u.id for u in utterances).encode()).hexdigest()


def network_digest(network: Conformer, after_block: int) -> str:
    """SHA-256 of sizes and of the weights that the cached outputs depend on, in float16 as a stage's result is kept."""
    digest = hashlib.sha256(repr(network.config).encode())
    prefixes = ["stem.", *(f"blocks.{i}." for i in range(after_block if after_block != ENCODER else 99))]
    if after_block == ENCODER:
        prefixes.append("final_norm.")
    for name, value in sorted(network.state_dict().items()):
        if name.startswith(tuple(prefixes)):
            digest.update(name.encode())
            digest.update(value.detach().half().cpu().numpy().tobytes())
    return digest.hexdigest()


def build_cache(
    folder: Path,
    network: Conformer,
    utterances: Sequence[Utterance],
    augmenter: WaveformAugmenter,
    key: CacheKey,
    batch_seconds: float = 120.0,
) -> FeatureCache:
    """Compute (or reuse) the cache of `key` under `folder`; an interrupted build starts again."""
    target = folder / key.name
    dim = network.config.d_model
    if not (target / "frames.npy").exists():
        target.mkdir(parents=True, exist_ok=True)
        (target / "key.json").write_text(json.dumps(asdict(key), indent=1))
        _write_rows(target, network, utterances, augmenter, key, batch_seconds)
    return FeatureCache(target, dim)


@torch.no_grad()
def _write_rows(
    target: Path,
    network: Conformer,
    utterances: Sequence[Utterance],
    augmenter: WaveformAugmenter,
    key: CacheKey,
    batch_seconds: float,
) -> None:
    # Batches are sorted by length, rows are stored in the order of the utterances.
    dim = network.config.d_model
    audio = [augmenter(u.audio.read(), np.random.default_rng([key.seed, i])) for i, u in enumerate(utterances)]
    front_end = LogMel()
    frames = np.array([-(-len(samples) // OUTPUT_FRAME_SAMPLES) for samples in audio], np.int64)
    ends = np.cumsum(frames)
    rows = np.memmap(target / "rows.f16", np.float16, "w+", shape=(int(ends[-1]), dim))
    batches = epoch_batches([len(samples) / SAMPLE_RATE for samples in audio], batch_seconds, key.seed, 0)
    for batch in track(batches, description=f"caching outputs ({key.name})"):
        hidden = _outputs(network, front_end, [audio[i] for i in batch], key)
        for row, index in enumerate(batch):
            begin = int(ends[index] - frames[index])
            rows[begin : ends[index]] = hidden[row, : frames[index]].half().numpy()
    rows.flush()
    np.save(target / "frames.npy", frames)


def _outputs(network: Conformer, front_end: LogMel, clips: list[NDArray[np.float32]], key: CacheKey) -> torch.Tensor:
    samples, lengths = pad_audio(clips)
    mel, mel_frames = front_end(samples, lengths)
    with mixed_precision(torch.device("cpu")):
        if key.after_block != ENCODER:
            return network.lower(mel, mel_frames, key.chunk, key.after_block).float()
        hidden = network.lower(mel, mel_frames, key.chunk, network.config.average_after)
        return network.upper(hidden, mel_frames // 4, key.chunk).float()
