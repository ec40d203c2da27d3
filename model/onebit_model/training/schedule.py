"""Parameter groups and their learning rates."""

from collections.abc import Container, Iterator

import torch
from torch import nn

from onebit_model.training.recipe import OptimizerConfig

ADAM_EPS = 1e-8
PROPORTIONAL_EPS = 1.0  # far above any gradient whose norm is clipped: then Adam divides by a constant


def parameter_groups(
    network: nn.Module,
    config: OptimizerConfig,
    trainable: tuple[str, ...],
    learnable_scales: bool = True,
    names: Container[str] | None = None,
) -> Iterator[dict[str, object]]:
    """Groups for AdamW; parameters outside `trainable` prefixes, or `names`, are frozen. Vectors and scales do not
    decay.

    Adam moves every number by the rate, however small its gradient: rows of an embedding whose pieces never come drift
    away. What is `proportional` moves by momentum and its gradient, as in plain descent: such rows stay.
    """
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        is_scale = "log_scale" in name
        learns = name.startswith(trainable) and (learnable_scales or not is_scale)
        parameter.requires_grad_(learns and (names is None or name in names))
        if not parameter.requires_grad:
            continue
        eps = ADAM_EPS
        if any(part in name for part in config.proportional):
            rate, eps = config.proportional_rate, PROPORTIONAL_EPS
        elif is_scale:
            rate = config.scale_learning_rate
        elif any(part in name for part in config.new):
            rate = config.new_learning_rate
        else:
            rate = config.learning_rate
        decay = 0.0 if is_scale or parameter.ndim < 2 else config.weight_decay
        groups.setdefault((rate, decay, eps), []).append(parameter)
    for (rate, decay, eps), parameters in groups.items():
        yield {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay, "eps": eps}


def rate_factor(step: int, config: OptimizerConfig) -> float:
    """Linear warm-up, constant, then linear decay to zero after the share `decay_start` of the steps."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = step / config.steps
    remaining = (1 - progress) / (1 - config.decay_start) if progress > config.decay_start else 1.0
    return warm * min(1.0, remaining)


def apply_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
