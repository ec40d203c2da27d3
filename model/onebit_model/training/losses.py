"""Losses over (batch, frames, tokens) log-probabilities with padding."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from onebit_model.text.tokenizer import BLANK


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
    """Mean over the blocks of the squared distance relative to the teacher's variance in each dimension.

    Dimension by dimension, because a few of a residual stream are a hundred times larger than the rest and would be
    all that counts. `frames` counts output frames; early blocks may have twice as many.
    """
    shortest = min(t.shape[1] for t in teacher)
    distances = [
        standardised_distance(t.detach().float(), s.float(), frames * (t.shape[1] // shortest))
        for t, s in zip(teacher, student, strict=True)
    ]
    return torch.stack(distances).mean()


def standardised_distance(teacher: Tensor, student: Tensor, frames: Tensor) -> Tensor:
    """Mean over valid frames and dimensions of (batch, frames, dim) of the squared distance by the variance."""
    valid = torch.arange(teacher.shape[1], device=frames.device)[None, :] < frames[:, None]
    target = teacher[valid]
    return ((student[valid] - target).square().mean(dim=0) / target.var(dim=0).clamp(min=1e-6)).mean()


def masked_mean(values: Tensor, frames: Tensor) -> Tensor:
    """Mean of (batch, frames) over the first `frames` (batch,) of each row."""
    valid = torch.arange(values.shape[1], device=values.device)[None, :] < frames[:, None]
    return (values * valid).sum() / valid.sum()
