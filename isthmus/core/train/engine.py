"""One optimizer step: forward and backward over micro-batches, on every process at once.

The loss of a step is the sum over all its micro-batches on all processes, divided by their
summed weight. Weights are known from the batches, so the divisor is agreed before the first
backward pass, and the gradient of a step is the same however its samples are split. DDP and
FSDP average over processes; on each of them the value sent backward is therefore
sum * processes / weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from isthmus.core.contracts import Batch, Loss, Objective
from isthmus.core.model.layers import Layers
from isthmus.core.train.config import Parallelism, Recomputing
from isthmus.core.train.optimizer import learning_parameters
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.recompute import Recompute
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
        """The loss sums of a micro-batch, (terms), and its metrics', likewise."""
        device = next(self.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bf16):
            loss: Loss = self.objective(self.model, batch)
        # A tensor of its own: FSDP2 hooks onto what is returned, and loses its hook on a view.
        terms = loss.sum.float().reshape(-1).clone()
        return terms, {n: m.reshape(-1) for n, m in loss.metrics.items()}


@dataclass(frozen=True)
class Counts:
    """What a step sees, over all processes; `weights` are those of the loss's terms."""

    weights: tuple[float, ...]
    tokens: float
    samples: float
    images: float

    @property
    def weight(self) -> float:
        """That of the first term."""
        return self.weights[0]

    @property
    def shares(self) -> list[float]:
        """What each term's sum is multiplied by: nothing where nothing was supervised."""
        return [1 / weight if weight else 0.0 for weight in self.weights]

    @staticmethod
    def of(batches: Sequence[Batch], objective: Objective, parallel: Parallel) -> Counts:
        weights = added_weights(objective, batches)
        seen = [
            sum(batch.num_tokens for batch in batches),
            sum(len(batch.samples) for batch in batches),
            sum(batch.num_images for batch in batches),
        ]
        found = parallel.sum([*weights, *seen])
        return Counts(tuple(found[: len(weights)]), *found[len(weights) :])


def added_weights(objective: Objective, batches: Sequence[Batch]) -> list[float]:
    """(terms) the weights of all these batches, possibly none."""
    each = [objective.weights(batch) for batch in batches]
    return [sum(own[term] for own in each) for term in range(objective.terms)]


@dataclass(frozen=True)
class StepResult:
    """One step, over all processes. `shared` are the caller's own numbers, summed.

    `loss` is None when nothing was supervised, and nothing moved.
    """

    loss: float | None
    grad_norm: float
    counts: Counts
    metrics: dict[str, float]
    shared: list[float]


class Engine:
    """Takes optimizer steps. `root` is put on its device and shared between the processes.

    `spare` makes a real batch for a process that has too few in a step: it runs, multiplied by
    zero, so that every process takes part in every exchange.
    """

    def __init__(
        self,
        root: Root,
        optimizer: AdamW,
        parallel: Parallel,
        *,
        name: str,
        clip: float | None,
        seed: int,
        spare: Callable[[], Batch],
        mode: Parallelism = "ddp",
        recompute: Recomputing = "none",
        compiled: bool = False,
    ) -> None:
        self.root = root
        names = {parameter: name for name, parameter in root.named_parameters()}
        self.shared = parallel.share(root, mode, bf16=root.bf16)
        # Slices are parameters of their own.
        now = dict(root.named_parameters())
        for group in optimizer.param_groups:
            group["params"] = [now[names[parameter]] for parameter in group["params"]]
        self.layers = Layers(root.model)
        if compiled:
            self.layers.compile()
        self.recompute = Recompute(self.layers, recompute, parallel)
        self.optimizer = optimizer
        self.parallel = parallel
        self.name = name
        self.clip = clip
        self.seed = seed
        self.spare = spare

    @property
    def learning(self) -> dict[str, nn.Parameter]:
        """Name -> parameter that learns, of model and objective."""
        return {name: p for name, p in self.root.named_parameters() if p.requires_grad}

    def close(self) -> None:
        """Leave the model as it was; for all processes to call."""
        self.shared.close()
        self.layers.restore()

    def step(
        self, step: int, batches: Sequence[Batch], share: Callable[[], Sequence[float]]
    ) -> StepResult:
        """Step `step` (from 0) on this process's micro-batches, which may be none.

        `share` is read at the end, before the weights move, and summed over the processes.
        """
        counts = Counts.of(batches, self.root.objective, self.parallel)
        if not any(counts.weights):
            return StepResult(None, 0.0, counts, {}, self.parallel.sum(share()))
        if not self.root.objective.config.accumulates and len(batches) > 1:
            raise InputError(
                f"{self.name}, step {step + 1}: {self.root.objective.name!r} compares all samples "
                f"of a batch with each other and cannot accumulate, but there are {len(batches)} "
                "micro-batches; leave `micro_samples` and `micro_tokens` out"
            )
        sums, metrics = self._backward(step, batches, counts.shares)
        self.recompute.backward_done()
        bad = [index for index, value in enumerate(sums) if not math.isfinite(value)]
        names = sorted(metrics)
        own = [sum(sums), len(bad), *(float(metrics[name]) for name in names)]
        shared = self.parallel.sum([*own, *share()])
        norm = self._clip()
        if shared[1] or not math.isfinite(norm):
            self._refuse(step, batches, bad, norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.root.objective.after_step(self.root.model)
        self.recompute.step_done()
        return StepResult(
            loss=shared[0],
            grad_norm=norm,
            counts=counts,
            metrics=dict(zip(names, shared[2:], strict=False)),
            shared=shared[len(own) :],
        )

    def _backward(
        self, step: int, batches: Sequence[Batch], shares: list[float]
    ) -> tuple[list[float], dict[str, Tensor]]:
        """Gradients of the whole step; returns what each micro-batch adds to its loss, and all of
        them to its metrics."""
        share = torch.tensor(shares, device=self.parallel.device)
        sums: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        rounds = self.shared.rounds(max(1, len(batches)))
        for index in range(rounds):
            counted = float(index < len(batches))
            batch = batches[index] if counted else self.spare()
            scale = counted * self.parallel.world * share
            seed_draws(derive(self.seed, step, index, self.parallel.rank))
            with nullcontext() if index == rounds - 1 else self.shared.no_sync():
                total, extra = self.shared(batch.to(self.parallel.device))
                (total * scale).sum().backward()
            sums.append((total.detach() * share).sum() * counted)
            for name, value in extra.items():
                own = (value.detach() * share).sum() * counted
                metrics[name] = metrics.get(name, 0.0) + own
        return torch.stack(sums).tolist(), metrics

    def _clip(self) -> float:
        """Norm of the whole gradient, which is then no longer than `clip`."""
        parameters = learning_parameters(self.optimizer)
        norm = self.shared.norm([p.grad for p in parameters if p.grad is not None])
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        return float(norm)

    def _refuse(self, step: int, batches: Sequence[Batch], bad: list[int], norm: float) -> None:
        """All processes come here together and raise the same error."""
        self.optimizer.zero_grad()
        own = [s for i, batch in enumerate(batches) if i in bad or not bad for s in batch.samples]
        everyone = self.parallel.gather((bool(bad), own))
        certain = any(sure for sure, _ in everyone)
        samples = [s for sure, ids in everyone if sure or not certain for s in ids]
        what = "the loss" if certain else f"the gradient (norm {norm})"
        raise NonFiniteLoss(
            f"{self.name}, step {step + 1}: {what} is not finite; the weights are those before "
            f"this step. Samples: {', '.join(samples)}. Lower the learning rate, or look at these "
            "samples."
        )
