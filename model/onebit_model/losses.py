"""Losses over (batch, frames, tokens) log-probabilities with padding."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from onebit_model.tokenizer import BLANK


def ctc_loss(log_probabilities: Tensor, frames: Tensor, targets: list[Tensor]) -> Tensor:
    """Negative log-likelihood per target token; clips too short for their text count zero."""
    lengths = torch.tensor([len(t) for t in targets])
    flat = torch.cat(targets)
    total = F.ctc_loss(
        log_probabilities.transpose(0, 1),
        flat.to(log_probabilities.device),
        frames,
        lengths.to(frames.device),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / len(flat)


def distillation_loss(teacher: Tensor, student: Tensor, frames: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities, mean over valid frames."""
    divergence = F.kl_div(student, teacher.detach(), reduction="none", log_target=True).sum(dim=-1)
    return masked_mean(divergence, frames)


def matching_loss(teacher: Tensor, student: Tensor, frames: Tensor) -> Tensor:
    """Squared distance of encoder outputs relative to the teacher's spread, mean over valid frames."""
    target = teacher.detach()
    spread = masked_mean(target.square().mean(dim=-1), frames)
    return masked_mean((student - target).square().mean(dim=-1), frames) / spread


def block_matching_loss(teacher: Sequence[Tensor], student: Sequence[Tensor], frames: Tensor) -> Tensor:
    """Mean matching loss over the blocks; `frames` counts output frames, early blocks may have twice as many."""
    distances = [
        matching_loss(t.float(), s.float(), frames * (2 if t.shape[1] > int(frames.max()) else 1))
        for t, s in zip(teacher, student, strict=True)
    ]
    return torch.stack(distances).mean()


def masked_mean(values: Tensor, frames: Tensor) -> Tensor:
    """Mean of (batch, frames) over the first `frames` (batch,) of each row."""
    valid = torch.arange(values.shape[1], device=values.device)[None, :] < frames[:, None]
    return (values * valid).sum() / valid.sum()
