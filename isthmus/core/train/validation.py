"""Loss and metrics on held-out data, and what looking at the right picture is worth.

`grounding` is the loss with the pictures shuffled among the samples minus the loss with the
right ones, in nats per supervised token: zero for a model that does not look.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isthmus.core.contracts import Preparer
from isthmus.core.data.loader import StepData, StepLoader
from isthmus.core.data.matches import shared
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.plan import Plan
from isthmus.core.train.config import BatchConfig, ValidationConfig
from isthmus.core.train.engine import Engine, added_weights
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.retrieval import Retrieval
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.core.train.session import Session
from isthmus.core.train.shuffled import ShuffledPictures
from isthmus.errors import DataError

SAMPLES = 32
"""Samples that a process looks at between two exchanges, where the stage's batch is counted
in tokens."""

LOSS = "loss"
"""Under what name the loss stands beside the metrics."""


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
        self.retrieval = Retrieval()
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
        metrics: dict[str, float] | None = {}
        for name, loader in self.loaders.items():
            self.retrieval = Retrieval()
            found = self._measure(engine, loader, step)
            if found is None or metrics is None:
                metrics = None
                break
            metrics[name] = found.pop(LOSS)
            if name == "val_loss":
                found |= self.retrieval.recalls(self.session.parallel)
                metrics |= {f"val_{key}": value for key, value in found.items()}
        engine.root.train()
        if metrics and "val_loss_shuffled" in metrics:
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
            micro_tokens=self._micro_tokens(batch),
            on_bad_image=config.on_bad_image,
            max_skipped=config.max_skipped,
        )

    @torch.no_grad()
    def _measure(self, engine: Engine, loader: StepLoader, step: int) -> dict[str, float] | None:
        """Loss and metrics over all steps and processes; None where a signal came."""
        objective = engine.root.objective
        own: dict[str, Tensor] = {LOSS: torch.zeros(objective.terms, dtype=torch.float64)}
        weights = torch.zeros(objective.terms, dtype=torch.float64)
        for data in loader:
            _add(own, self._step(engine, data))
            weights += torch.tensor(added_weights(objective, data.batches))
            shared = self.session.parallel.sum([len(data.skipped), *self.session.stop.share()])
            if self.session.stop.agreed(shared[1:]):
                return None
            if shared[0]:
                self.session.list_skipped(self.stage.config.name, step, data.skipped)
        everyone = self.session.parallel.gather((weights, own))
        weights = torch.stack([each for each, _ in everyone]).sum(dim=0)
        if not weights.any():
            raise DataError(f"{self.where}.data: no sample has an answer to be measured on")
        totals: dict[str, Tensor] = {}
        for _, found in everyone:
            _add(totals, found)
        shares = torch.where(weights > 0, 1 / weights, 0.0)
        return {name: float((value * shares).sum()) for name, value in totals.items()}

    def _step(self, engine: Engine, data: StepData) -> dict[str, Tensor]:
        """Sums of loss and metrics, (terms) each, of one process's part of a step."""
        parallel = self.session.parallel
        # Who compares samples over processes must run wherever another one does.
        least = 0 if engine.root.objective.config.accumulates else 1
        rounds = engine.shared.rounds(max(least, len(data.batches)))
        sums: dict[str, Tensor] = {}
        for index, batch in enumerate(data.batches):
            seed_draws(derive(self.seed, data.step, index, parallel.rank))
            moved = shared(batch.to(parallel.device))
            lost, metrics = engine.root(moved)
            self.retrieval.add(moved)
            _add(sums, {LOSS: lost, **metrics})
        for _ in range(len(data.batches), rounds):
            engine.root(engine.spare().to(parallel.device))
        return sums

    def _micro_tokens(self, batch: BatchConfig) -> int | None:
        whole = not self.stage.objective.config.accumulates
        if batch.micro_tokens or not batch.tokens or whole:
            return batch.micro_tokens
        return max(1, batch.tokens // self.session.parallel.world)


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + value.double().cpu()
