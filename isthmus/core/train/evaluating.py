"""Benchmarks that a stage is measured by: whoever started the run asks them (`evaluate_due`).

Training goes on as if nobody had: weights, modes and generators are as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from isthmus.core.contracts import EvaluateDue, Events
from isthmus.core.train.config import RunConfig
from isthmus.core.train.engine import Engine
from isthmus.core.train.evaluate_config import EvaluateConfig
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.seeds import undisturbed
from isthmus.core.train.session import Session
from isthmus.errors import InputError


class Evaluation:
    """The evaluation of one stage."""

    def __init__(self, session: Session, stage: OpenStage, config: EvaluateConfig) -> None:
        self.session = session
        self.stage = stage
        self.config = config

    def run(self, engine: Engine, step: int) -> dict[str, float] | None:
        """The metrics after step `step`; None when a signal asked the run to stop meanwhile.

        The main process asks, and the others wait.
        """
        stop = self.session.stop

        def ask(pause: Callable[[], list[float]]) -> dict[str, float] | None:
            with self._aside(engine):
                event = self._event(step, lambda: stop.agreed(pause()) is None)
                found = self.session.events.evaluate_due(event)
            return None if found is None else dict(found)

        return self.session.parallel.on_main_at_length(ask, stop.share)

    def _event(self, step: int, go_on: Callable[[], bool]) -> EvaluateDue:
        config, stage = self.config, self.stage
        if stage.template is None:
            raise InputError(f"stages[{stage.index}].evaluate: questions need a `template`")
        return EvaluateDue(
            stage=stage.config.name,
            step=step,
            benchmarks=stage.benchmarks,
            max_questions=config.max_questions,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
            model=self.session.model,
            template=stage.template,
            blind=self.session.settings.blind,
            go_on=go_on,
        )

    @contextmanager
    def _aside(self, engine: Engine) -> Iterator[None]:
        """The model in eval mode and in the run's arithmetic, nothing of it compiled anew for the
        shapes of answers, and no picture of a benchmark among the features that are kept."""
        session = self.session
        half = session.settings.precision == "bf16"
        kind = session.parallel.device.type
        store, session.model.store = session.model.store, None
        try:
            arithmetic = torch.autocast(kind, dtype=torch.bfloat16, enabled=half)
            with undisturbed(), arithmetic, _eager(session.settings.compile):
                engine.root.eval()
                yield
        finally:
            session.model.store = store
            engine.root.train()


def _eager(compiled: bool) -> AbstractContextManager[Any]:
    """Layers as they are written, where they are otherwise compiled."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def check_evaluation(settings: RunConfig, parallel: Parallel, events: Events | None) -> None:
    """Raise InputError where a stage is to be evaluated and cannot be."""
    for index, stage in enumerate(settings.stages):
        if stage.evaluate is None:
            continue
        where = f"stages[{index}].evaluate"
        if parallel.world > 1 and (stage.parallel or settings.parallel) == "fsdp":
            raise InputError(
                f"{where}: under `parallel: fsdp` no process has the whole model to ask; leave it "
                "out and ask checkpoints with `isthmus evaluate`, or write `parallel: ddp`"
            )
        if not (events and events.evaluates):
            raise InputError(
                f"{where}: nobody is here to ask the benchmarks. `isthmus train` does; in Python "
                "give `events=isthmus.evaluate.training.Evaluator()`, or leave it out"
            )
