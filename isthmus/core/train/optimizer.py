"""AdamW over the groups that the tuners named, with weight decay on matrices alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.optim import AdamW

from isthmus.core.contracts import ParameterGroup
from isthmus.core.train.config import OptimizerConfig


def build_optimizer(groups: Sequence[ParameterGroup], config: OptimizerConfig) -> AdamW:
    """Fused AdamW. Each group becomes two: its matrices, which decay, and the rest.

    `base_lr` of a group is what the schedule multiplies.
    """
    split = []
    for group in groups:
        lr = config.lr if group.lr is None else group.lr
        decay = config.weight_decay if group.weight_decay is None else group.weight_decay
        learning = list(group.parameters.values())
        matrices = [p for p in learning if p.ndim >= 2]
        others = [p for p in learning if p.ndim < 2]
        for parameters, weight_decay in ((matrices, decay), (others, 0.0)):
            if parameters:
                split.append(
                    {
                        "params": parameters,
                        "lr": lr,
                        "base_lr": lr,
                        "weight_decay": weight_decay,
                    }
                )
    return AdamW(split, betas=config.betas, eps=config.eps, fused=True)


def set_lr(optimizer: AdamW, factor: float) -> float:
    """Give every group its share of its own rate; returns the largest."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)


def learning_parameters(optimizer: AdamW) -> list[nn.Parameter]:
    """Every parameter that the optimizer moves."""
    return [p for group in optimizer.param_groups for p in group["params"]]
