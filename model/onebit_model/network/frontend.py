"""Log-mel features of padded batches in torch; numerically the same as `features.log_mel`."""

import torch
from torch import Tensor, nn

from onebit_model.audio import features
from onebit_model.config import MEL_FRAME_SAMPLES, OUTPUT_FRAME_SAMPLES


class LogMel(nn.Module):
    """(batch, samples) float32 -> (batch, frames, 80) float32; zero beyond each clip's own frames."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.from_numpy(features.hann_window()), persistent=False)
        self.register_buffer("filters", torch.from_numpy(features.mel_filterbank()), persistent=False)

    @torch.no_grad()
    def forward(self, audio: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """`samples` (batch,) int64 are the true lengths; returns features and mel frames (batch,)."""
        padded = features.padded_samples(audio.shape[1])
        audio = nn.functional.pad(audio, (0, padded - audio.shape[1]))
        spectrum = torch.stft(
            audio,
            features.WINDOW_SAMPLES,
            MEL_FRAME_SAMPLES,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )[..., :-1]
        power = spectrum.real.square() + spectrum.imag.square()
        mel = (self.filters @ power).clamp(min=features.MEL_FLOOR)
        normalised = (mel.log10() + 4) / 4
        frames = mel_frames(samples)
        return mask_frames(normalised.transpose(1, 2), frames), frames


def mel_frames(samples: Tensor) -> Tensor:
    """Mel frames of clips of the given lengths, after padding to whole 40 ms frames."""
    per_frame = OUTPUT_FRAME_SAMPLES
    hops = OUTPUT_FRAME_SAMPLES // MEL_FRAME_SAMPLES
    return (samples + per_frame - 1) // per_frame * hops


def mask_frames(x: Tensor, frames: Tensor) -> Tensor:
    """Zero the frames of (batch, time, dim) at and beyond `frames` (batch,)."""
    valid = torch.arange(x.shape[1], device=x.device)[None, :] < frames[:, None]
    return x * valid[..., None].to(x.dtype)
