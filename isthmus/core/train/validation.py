"""Loss on held-out data, and what looking at the right picture is worth.

`grounding` is the loss with the pictures shuffled among the samples minus the loss with the
right ones, in nats per supervised token: zero for a model that does not look.
"""

from __future__ import annotations

import torch

from isthmus.core.contracts import Preparer
from isthmus.core.data.loader import StepData, StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.plan import Plan
from isthmus.core.train.config import BatchConfig, ValidationConfig
from isthmus.core.train.engine import Engine
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.core.train.session import Session
from isthmus.core.train.shuffled import ShuffledPictures
from isthmus.errors import DataError

SAMPLES = 32
"""Samples that a process looks at between two exchanges, where the stage's batch is counted
in tokens."""


class Validation:
    """The validation of one stage, with the samples and the shuffling always the same."""

    def __init__(
        self, session: Session, stage: OpenStage, config: ValidationConfig, preparer: Preparer
    ) -> None:
        self.session = session
        self.config = config
        self.where = f"stages[{stage.index}].validation"
        self.seed = derive(session.settings.seed, "validation", stage.index)
        self.stage = stage
        self.preparer = preparer
        right = Mixture(stage.held_out)
        count = min(config.max_samples or len(right), len(right))
        self.loaders = {"val_loss": self._loader(right, count)}
        if config.grounding and not session.settings.blind:
            shuffled = ShuffledPictures(right.sources, count, self.seed)
            if shuffled.moves:
                self.loaders["val_loss_shuffled"] = self._loader(Mixture([shuffled], [1.0]), count)

    def run(self, engine: Engine, step: int) -> dict[str, float] | None:
        """The metrics after step `step`; None when a signal asked the run to stop meanwhile."""
        engine.root.eval()
        metrics: dict[str, float] = {}
        for name, loader in self.loaders.items():
            loss = self._loss(engine, loader, step)
            if loss is None:
                break
            metrics[name] = loss
        engine.root.train()
        if len(metrics) < len(self.loaders):
            return None
        if "val_loss_shuffled" in metrics:
            metrics["grounding"] = metrics["val_loss_shuffled"] - metrics["val_loss"]
        return metrics

    def _loader(self, mixture: Mixture, count: int) -> StepLoader:
        config, settings = self.stage.config, self.session.settings
        parallel, batch = self.session.parallel, config.batch
        plan = Plan(
            mixture,
            samples=batch.samples or SAMPLES * parallel.world,
            epochs=count / len(mixture),
            shuffle=False,
        )
        return StepLoader(
            plan,
            mixture,
            self.preparer,
            rank=parallel.rank,
            world=parallel.world,
            workers=settings.workers,
            micro_samples=batch.micro_samples,
            micro_tokens=_micro_tokens(batch, parallel.world),
            on_bad_image=config.on_bad_image,
            max_skipped=config.max_skipped,
        )

    @torch.no_grad()
    def _loss(self, engine: Engine, loader: StepLoader, step: int) -> float | None:
        total = weight = 0.0
        for data in loader:
            own = [*self._step(engine, data), len(data.skipped)]
            shared = self.session.parallel.sum([*own, *self.session.stop.share()])
            if self.session.stop.agreed(shared[3:]):
                return None
            if shared[2]:
                self.session.list_skipped(self.stage.config.name, step, data.skipped)
            total, weight = total + shared[0], weight + shared[1]
        if not weight:
            raise DataError(f"{self.where}.data: no sample has an answer to be measured on")
        return total / weight

    def _step(self, engine: Engine, data: StepData) -> tuple[float, float]:
        """Loss sum and weight of one process's part of a step."""
        parallel = self.session.parallel
        total, rounds = 0.0, engine.shared.rounds(len(data.batches))
        for index, batch in enumerate(data.batches):
            seed_draws(derive(self.seed, data.step, index, parallel.rank))
            total += float(engine.root(batch.to(parallel.device))[0])
        for _ in range(len(data.batches), rounds):
            engine.root(engine.spare().to(parallel.device))
        return total, sum(batch.weight for batch in data.batches)


def _micro_tokens(batch: BatchConfig, world: int) -> int | None:
    if batch.micro_tokens or not batch.tokens:
        return batch.micro_tokens
    return max(1, batch.tokens // world)
