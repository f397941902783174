"""How the learning rate moves: a pure function of the step, so that a resume needs no state."""

from __future__ import annotations

import math

from isthmus.core.train.config import ScheduleConfig


def warmup_steps(config: ScheduleConfig, steps: int) -> int:
    """Steps of warm-up: a share of the stage, rounded up, below 1; a count from 1 on."""
    if config.warmup < 1:
        return math.ceil(config.warmup * steps)
    return int(config.warmup)


def lr_factor(config: ScheduleConfig, step: int, steps: int) -> float:
    """What step `step` (from 0) of `steps` multiplies the learning rate with.

    Warm-up rises in equal parts and never is zero: w steps of it take 1/(w+1) ... w/(w+1).
    The step after it has the full rate; `config.end` would be that of step `steps`.
    """
    warmup = warmup_steps(config, steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.type == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    if config.type == "linear":
        shape = 1.0 - progress
    else:
        shape = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.end + (1.0 - config.end) * shape
