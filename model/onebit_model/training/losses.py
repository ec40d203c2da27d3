"""Losses over log-probabilities with padding."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebit_model.text.tokenizer import BLANK
from onebit_model.training.targets import PieceTargets

LEAST_SPREAD = 1e-6
LEAST_WEIGHT = 1e-6


def ctc_loss(log_probabilities: Tensor, frames: Tensor, targets: list[Tensor]) -> Tensor:
    """Negative log-likelihood per target token; clips too short for their text count zero.

    (batch, frames, tokens); `frames` (batch,) and the targets are on the CPU. A clip without words is all blank.
    """
    lengths = torch.tensor([len(t) for t in targets])
    flat = torch.cat(targets)
    total = F.ctc_loss(
        log_probabilities.transpose(0, 1),
        flat.to(log_probabilities.device, non_blocking=True),
        frames.cpu(),
        lengths,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / max(1, len(flat))


def piece_loss(log_probabilities: Tensor, targets: PieceTargets, soft_share: float) -> Tensor:
    """Cross-entropy of (n, pieces) with the labels and, with a share, with a teacher's soft ones; mean by weight."""
    loss = -log_probabilities.gather(1, targets.labels[:, None])[:, 0]
    if soft_share and targets.soft_pieces is not None and targets.soft_probabilities is not None:
        soft = -(log_probabilities.gather(1, targets.soft_pieces) * targets.soft_probabilities).sum(dim=1)
        loss = (1 - soft_share) * loss + soft_share * soft
    return weighted_mean(loss, targets.weights)


def piece_divergence(teacher: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities (n, pieces), mean by weight."""
    divergence = F.kl_div(student, teacher.detach(), reduction="none", log_target=True).sum(dim=-1)
    return weighted_mean(divergence, weights)


def frame_divergence(teacher: Tensor, student: Tensor, frames: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities (batch, frames, tokens), mean over valid frames."""
    divergence = F.kl_div(student, teacher.detach(), reduction="none", log_target=True).sum(dim=-1)
    return (divergence * valid_frames(divergence.shape[1], frames.to(divergence.device))).sum() / frames.sum()


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=LEAST_WEIGHT)


def valid_frames(time: int, frames: Tensor) -> Tensor:
    """(batch, time) bool, True before `frames` (batch,)."""
    return torch.arange(time, device=frames.device)[None, :] < frames[:, None]


def seen_distance(norm: nn.Module, teacher: Tensor, student: Tensor, valid: Tensor) -> Tensor:
    """Squared distance of what the next layer sees, which is behind its norm, relative to the teacher's variance.

    (batch, time, dim) each, `valid` (batch, time). Before the norm most dimensions hardly move and do not matter.
    """
    target, seen = norm(teacher.detach()).float(), norm(student).float()
    count = valid.sum().clamp(min=1)
    weights = valid[..., None].to(target.dtype)
    mean = (target * weights).sum(dim=(0, 1)) / count
    spread = ((target - mean).square() * weights).sum(dim=(0, 1)) / count
    distance = ((seen - target).square() * weights).sum(dim=(0, 1)) / count
    return distance.mean() / spread.mean().clamp(min=LEAST_SPREAD)


def mean_distance(
    norms: Sequence[nn.Module], teacher: Sequence[Tensor], student: Sequence[Tensor], valid: Sequence[Tensor]
) -> Tensor:
    """The mean of `seen_distance` over blocks, each with the norm that follows it."""
    distances = [seen_distance(n, t, s, v) for n, t, s, v in zip(norms, teacher, student, valid, strict=True)]
    return torch.stack(distances).mean()
