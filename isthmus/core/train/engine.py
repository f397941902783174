"""One optimizer step: forward and backward over micro-batches, on every process at once.

The loss of a step is the sum over all its micro-batches on all processes, divided by their
summed weight. Weights are known from the batches, so the divisor is agreed before the first
backward pass, and the gradient of a step is the same however its samples are split. DDP
averages over processes; on each of them the value sent backward is therefore
sum * processes / weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from isthmus.core.contracts import Batch, Loss, Objective
from isthmus.core.train.optimizer import learning_parameters
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.errors import InputError, NonFiniteLoss


class Root(nn.Module):
    """The model and its objective as one module, whose forward is the whole computation:
    what DDP wraps must see all of it."""

    def __init__(self, model: nn.Module, objective: Objective, bf16: bool) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.bf16 = bf16

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss sum of a micro-batch, a scalar, and its metrics' sums."""
        device = next(self.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bf16):
            loss: Loss = self.objective(self.model, batch)
        return loss.sum.float(), loss.metrics


@dataclass(frozen=True)
class Counts:
    """What a step sees, over all processes."""

    weight: float
    tokens: float
    samples: float
    images: float

    @staticmethod
    def of(batches: Sequence[Batch], parallel: Parallel) -> Counts:
        return Counts(
            *parallel.sum(
                [
                    sum(batch.weight for batch in batches),
                    sum(batch.num_tokens for batch in batches),
                    sum(len(batch.samples) for batch in batches),
                    sum(batch.num_images for batch in batches),
                ]
            )
        )


@dataclass(frozen=True)
class StepResult:
    """One step, over all processes. `shared` are the caller's own numbers, summed."""

    loss: float
    grad_norm: float
    counts: Counts
    metrics: dict[str, float]
    shared: list[float]


class Engine:
    """Takes optimizer steps. `prepared` is the root module as `Parallel.prepare` gave it.

    `spare` makes a real batch for a process that has none in a step: it runs, multiplied by
    zero, so that every process takes part in the exchange of gradients.
    """

    def __init__(
        self,
        prepared: nn.Module,
        optimizer: AdamW,
        parallel: Parallel,
        *,
        accumulates: bool,
        clip: float | None,
        seed: int,
        spare: Callable[[], Batch],
    ) -> None:
        self.prepared = prepared
        self.optimizer = optimizer
        self.parallel = parallel
        self.accumulates = accumulates
        self.clip = clip
        self.seed = seed
        self.spare = spare

    def step(
        self, step: int, batches: Sequence[Batch], share: Callable[[], Sequence[float]]
    ) -> StepResult | None:
        """One step on this process's micro-batches, which may be none.

        `share` is read at the end, before the weights move, and summed over the processes.
        None, and nothing moves, when no process has anything supervised.
        """
        counts = Counts.of(batches, self.parallel)
        if counts.weight == 0:
            return None
        if not self.accumulates and len(batches) > 1:
            raise InputError(
                f"step {step}: this objective compares all samples of a batch with each other "
                f"and cannot accumulate, but the step has {len(batches)} micro-batches on one "
                "process; leave `micro_samples` and `micro_tokens` out, or lower `samples`"
            )
        sums, metrics = self._backward(step, batches, counts.weight)
        bad = [i for i, value in enumerate(sums) if not torch.isfinite(value)]
        total = float(torch.stack(sums).sum()) if sums else 0.0
        names = sorted(metrics)
        own = [total, float(len(bad)), *(float(metrics[name]) for name in names)]
        shared = self.parallel.sum([*own, *share()])
        norm = self._clip()
        if shared[1] or not torch.isfinite(norm):
            self._refuse(step, batches, bad, float(norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return StepResult(
            loss=shared[0] / counts.weight,
            grad_norm=float(norm),
            counts=counts,
            metrics={n: v / counts.weight for n, v in zip(names, shared[2:], strict=False)},
            shared=shared[len(own) :],
        )

    def _backward(
        self, step: int, batches: Sequence[Batch], weight: float
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Gradients of the whole step; returns each micro-batch's loss sum and all metrics."""
        sums: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        scale = self.parallel.world / weight
        for index, batch in enumerate(batches or [self.spare()]):
            seed_draws(derive(self.seed, step, index, self.parallel.rank))
            last = index >= len(batches) - 1
            with nullcontext() if last else self.parallel.no_sync(self.prepared):
                total, extra = self.prepared(batch.to(self.parallel.device))
                (total * (scale if batches else 0.0)).backward()
            factor = 1.0 if batches else 0.0
            if batches:
                sums.append(total.detach())
            for name, value in extra.items():
                metrics[name] = metrics.get(name, 0.0) + value.detach() * factor
        return sums, metrics

    def _clip(self) -> Tensor:
        parameters = learning_parameters(self.optimizer)
        if self.clip is not None:
            return nn.utils.clip_grad_norm_(parameters, self.clip)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _refuse(self, step: int, batches: Sequence[Batch], bad: list[int], norm: float) -> None:
        """All processes come here together and raise the same error."""
        self.optimizer.zero_grad()
        guilty = [i for i in range(len(batches)) if i in bad or not bad]
        named = [(bool(bad), [s for i in guilty for s in batches[i].samples])]
        everyone = self.parallel.gather(named[0])
        certain = any(sure for sure, _ in everyone)
        samples = [s for sure, ids in everyone if sure or not certain for s in ids]
        what = "the loss" if certain else f"the gradient (norm {norm})"
        raise NonFiniteLoss(
            f"step {step}: {what} is not finite; the weights are those before this step. "
            f"Samples: {', '.join(samples)}. Lower the learning rate, or look at these samples."
        )
