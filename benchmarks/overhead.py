"""What isthmus' engine costs on top of a loop written by hand, on the same batches.

    python -m benchmarks.overhead

The model is so small that the engine's own work shows. Both take the same forward passes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.contest import Task
from benchmarks.engine import Isthmus
from benchmarks.models import Preset, clip, isthmus_model, llama
from benchmarks.samples import draw
from isthmus.core.train.parallel import Parallel

SMALL = Preset(llama(32, 64, 1, 2, 512), clip(32, 2, 2, 4), samples=16)
STEPS = 300


def by_hand(engine: Any, batches: Sequence[Any]) -> tuple[float, float]:
    """The step as one would write it: loss, and norm of the gradient."""
    weight = sum(batch.weight for batch in batches)
    loss = torch.zeros(())
    for batch in batches:
        (total,), _ = engine.root(batch)
        (total / weight).backward()
        loss += total.detach()
    norm = nn.utils.get_total_norm([p.grad for p in engine.root.parameters() if p.grad is not None])
    engine.optimizer.step()
    engine.optimizer.zero_grad()
    return float(loss) / weight, float(norm)


def measure(parallel: Parallel, steps: int = STEPS) -> tuple[float, float, float]:
    """CPU milliseconds of a step by the engine, by hand, and between two that follow one
    another: medians of many. What else runs on the machine moves both of a pair alike."""
    task = Task(SMALL, draw(SMALL), stage=2, device=parallel.device)
    engine = Isthmus(task, isthmus_model(SMALL, 2), parallel).engine
    batches = Isthmus(task, engine.root.model, parallel).loader.load(0).batches
    times: list[tuple[float, float]] = []
    for step in range(steps):
        begun = time.process_time()
        engine.step(step, batches, lambda: [])
        between = time.process_time()
        by_hand(engine, batches)
        times.append((between - begun, time.process_time() - between))
    ours, hand = (median(column) * 1000 for column in zip(*times, strict=True))
    return ours, hand, median(one - other for one, other in times) * 1000


def report(parallel: Parallel) -> str:
    """One line."""
    engine, hand, more = measure(parallel)
    return (
        f"engine {engine:.2f} ms a step, loop by hand {hand:.2f} ms on the same batches: "
        f"{more:+.2f} ms of CPU (must 1.0, aim 0.5)"
    )


if __name__ == "__main__":
    print(report(Parallel(threads=1)))
