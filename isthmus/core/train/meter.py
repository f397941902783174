"""What a step took: counted by each process, summed over all, and told as an event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass

from isthmus.core.contracts import StepEnded
from isthmus.core.data.loader import StepData
from isthmus.core.model.layers import Layers
from isthmus.core.train.engine import StepResult
from isthmus.core.train.filling import filling, filling_metrics
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.operations import flop_model
from isthmus.core.train.peaks import peak
from isthmus.core.train.session import Session


@dataclass(frozen=True)
class Tally:
    """One process's counts of a step, or their sums over all: seconds `waited` for data, samples
    `skipped`, `flops` of the model, those `repeated` to save memory, `packs` and tokens of
    `padding` computed."""

    waited: float
    skipped: float
    flops: float
    repeated: float
    packs: float
    padding: float

    def __iter__(self) -> Iterator[float]:
        return iter(astuple(self))


class Meter:
    """Counts the steps of a stage, whose model is not yet shared between processes."""

    def __init__(self, session: Session, stage: OpenStage, steps: int) -> None:
        bf16 = session.settings.precision == "bf16"
        self.stage, self.steps = stage.config, steps
        self.world, self.llm = session.parallel.world, session.model.llm
        self.flops = flop_model(session.model, bf16, stage.objective)
        self.peak = peak(session.parallel.device, bf16)

    def count(self, data: StepData, waited: float, layers: Layers) -> Tally:
        """This process's counts."""
        flops = (self.flops and self.flops.step(data.batches)) or 0.0
        repeated = self.flops.repeated(data.batches, layers.again) if self.flops else 0.0
        filled = filling(data.batches, self.llm)
        return Tally(waited, len(data.skipped), flops, repeated, *filled)

    def event(
        self, step: int, result: StepResult, all_counts: Tally, lr: float, begun: float
    ) -> StepEnded | None:
        """The step, `begun` at that monotonic time, over all processes; None where nothing was
        supervised."""
        if result.loss is None:
            return None
        counts, seconds = result.counts, time.monotonic() - begun
        full = filling_metrics(
            counts.tokens, all_counts.packs, all_counts.padding, self.stage.batch.capacity
        )
        could = self.peak * self.world * seconds if self.peak and all_counts.flops else None
        return StepEnded(
            stage=self.stage.name,
            step=step,
            steps=self.steps,
            loss=result.loss,
            lr=lr,
            grad_norm=result.grad_norm,
            tokens=int(counts.tokens),
            supervised=counts.weight,
            samples=int(counts.samples),
            images=int(counts.images),
            seconds=seconds,
            data_wait=min(1.0, all_counts.waited / self.world / seconds),
            metrics={**full, **result.metrics},
            flops=all_counts.flops or None,
            mfu=all_counts.flops / could if could else None,
            hfu=(all_counts.flops + all_counts.repeated) / could if could else None,
        )
