"""Whisper as the teacher of a network that learns to do without its padding and with half of its frames."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from onebit_model.audio import features
from onebit_model.network.conformer import Conformer, average_pairs
from onebit_model.network.pretrained import whisper_encoder
from onebit_model.training.outputs import Batch

MEL_RATE = 100  # frames a second


class WhisperOutputs(NamedTuple):
    """`pieces` (n, pieces) log-probabilities; `encoded` (batch, frames, d_model): Whisper's in pairs."""

    pieces: Tensor
    encoded: Tensor


class WhisperTeacher:
    """Whisper base as it was loaded, in full context, on what the student hears and silence after it.

    Its decoder reads averaged pairs of frames, too: they cost it nothing measurable (docs/training-history.md).
    """

    def __init__(self, network: Conformer, silence_seconds: float) -> None:
        self.network = network.eval().requires_grad_(False)
        self.silence = round(silence_seconds * MEL_RATE / 4) * 4

    @torch.no_grad()
    def __call__(self, batch: Batch) -> WhisperOutputs:
        assert self.network.decoder is not None
        assert batch.pieces is not None
        mel, frames = batch.inputs.unmasked, batch.inputs.mel_frames.to(batch.inputs.mel.device)
        time = mel.shape[1]
        longest = min(time + self.silence, 2 * len(self.network.positions))
        longer = F.pad(mel, (0, 0, 0, longest - time))
        spoken = torch.arange(longest, device=mel.device)[None, :] < frames[:, None]
        heard = torch.where(spoken[..., None], longer, features.SILENT_FEATURE)
        ends = (frames + self.silence).clamp(max=longest)
        encoded = average_pairs(whisper_encoder(self.network, heard, ends))
        hidden = self.network.decoder(batch.pieces.inputs, encoded, ends // 4)
        due = hidden.flatten(0, 1)[batch.pieces.positions]
        return WhisperOutputs(self.network.decoder.log_probabilities(due), encoded[:, : time // 4])
