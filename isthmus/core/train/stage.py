"""One stage: who learns what from which data, step after step, to its last checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from isthmus.core.checkpoint import Checkpoint, restore_optimizer
from isthmus.core.contracts import (
    Batch,
    Evaluated,
    ParameterGroup,
    Preparer,
    StageEnded,
    StageStarted,
    StepEnded,
)
from isthmus.core.data.loader import StepData, StepLoader, measure
from isthmus.core.data.plan import Plan
from isthmus.core.model.decoder import Decoder
from isthmus.core.train.engine import Engine, Root, StepResult
from isthmus.core.train.freeze import FrozenWeights
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.optimizer import build_optimizer, set_lr
from isthmus.core.train.schedule import lr_factor
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.core.train.session import Session
from isthmus.core.train.start import state_of
from isthmus.core.train.tuning import Tuned, apply_tuners, set_precision, table
from isthmus.core.train.validation import Validation
from isthmus.errors import DataError, ImageError, Interrupted, PartError, Unsupervised


class Stage:
    """A stage under way. `checkpoint` is one of this stage, to go on from."""

    def __init__(self, session: Session, stage: OpenStage, checkpoint: Checkpoint | None) -> None:
        self.session = session
        self.stage = stage
        self.config = stage.config
        state = state_of(checkpoint) if checkpoint else None
        self.first_step = state.step if state else 0
        self.skipped = int(state.data.get("skipped", 0)) if state else 0
        self.tuned = self._tune(fresh=checkpoint is None)
        self.preparer = self._preparer()
        self.loader = self._loader()
        self.steps = self.loader.plan.steps
        self.engine = self._engine(checkpoint)
        self.validation = self._validation()
        self.frozen = FrozenWeights(session.model.parts())

    def train(self) -> Path:
        """Take the steps that are left; returns the stage's last checkpoint.

        Raises Interrupted, after saving, when a signal asked for it.
        """
        started = time.monotonic()
        self._announce()
        self.engine.root.train()
        for data, begun, waited in timed(iter(self.loader)):
            result = self._step(data, begun, waited)
            self._after_step(data.step + 1, result)
        self.frozen.check(self.session.model.parts())
        for item in self.tuned:
            self.session.history.finish(item)
        self.session.parallel.release()
        folder = self._save(self.steps, finished=True)
        seconds = time.monotonic() - started
        self.session.tell("stage_ended", StageEnded(self.config.name, self.steps, seconds))
        return folder

    def _step(self, data: StepData, begun: float, waited: float) -> StepResult:
        factor = lr_factor(self.config.schedule, data.step, self.steps)
        lr = set_lr(self.engine.optimizer, factor)
        stop = self.session.stop
        result = self.engine.step(
            data.step, data.batches, lambda: [waited, len(data.skipped), *stop.share()]
        )
        self.skipped += int(result.shared[1])
        seconds = time.monotonic() - begun
        if result.loss is not None:
            event = StepEnded(
                stage=self.config.name,
                step=data.step + 1,
                steps=self.steps,
                loss=result.loss,
                lr=lr,
                grad_norm=result.grad_norm,
                tokens=int(result.counts.tokens),
                supervised=result.counts.weight,
                samples=int(result.counts.samples),
                images=int(result.counts.images),
                seconds=seconds,
                data_wait=min(1.0, result.shared[0] / self.session.parallel.world / seconds),
                metrics=result.metrics,
            )
            self.session.tell("step_ended", event)
        return result

    def _after_step(self, step: int, result: StepResult) -> None:
        """Validation and checkpoint where they are due, and the end where a signal asked."""
        last = step == self.steps
        number = self.session.stop.agreed(result.shared[2:]) or self._validate(step)
        due = self.config.save_every is not None and step % self.config.save_every == 0
        if last or not (number or due):
            return
        folder = self._save(step, finished=False)
        if number:
            raise Interrupted(
                f"stopped by a signal after step {step} of {self.steps} of "
                f"{self.config.name!r}; saved {folder}. Go on with --resume",
                number,
            )

    def _validate(self, step: int) -> int | None:
        """Validate if it is due; returns the signal that cut it short, if one did."""
        if self.validation is None:
            return None
        every = self.validation.config.every
        if step < self.steps and not (every and step % every == 0):
            return None
        metrics = self.validation.run(self.engine.root)
        if metrics is None:
            return self.session.asked_to_stop()
        self.session.tell("evaluated", Evaluated(self.config.name, step, metrics))
        return None

    def _save(self, step: int, *, finished: bool) -> Path:
        return self.session.save(self.stage, step, self.skipped, self.engine, finished=finished)

    def _announce(self) -> None:
        session, config = self.session, self.config
        parts = session.model.parts()
        notes = []
        llm = session.model.llm
        if isinstance(llm, Decoder) and not llm.ragged:
            notes.append(f"{llm.family} cannot run packs; samples are padded to the longest")
        event = StageStarted(
            stage=config.name,
            index=self.stage.index,
            stages=len(session.settings.stages),
            steps=self.steps,
            first_step=self.first_step,
            table=table(
                parts,
                dict(session.settings.model.parts()),
                self.tuned,
                self.stage.objective,
                config.optimizer,
            ),
            notes=notes,
        )
        session.tell("stage_started", event)

    def _tune(self, fresh: bool) -> list[Tuned]:
        """Decide who learns; in a stage that begins, draw anew what it resets."""
        session = self.session
        seed = derive(session.settings.seed, "tune", self.stage.index)
        if fresh:
            for name in self.config.reset:
                session.model.reset(name, seed)
                session.history.reset(name)
        seed_draws(seed)
        parts = session.model.parts()
        learnt = session.history.learnt(parts)
        tuned = apply_tuners(parts, self.config.train)
        set_precision(parts, session.settings.precision == "bf16", learnt)
        for item in tuned:
            session.history.tuned(item)
        return tuned

    def _preparer(self) -> Preparer:
        session = self.session
        tools = session.model.tools(
            self.stage.template, self.config.max_length, session.settings.blind
        )
        return self.stage.objective.preparer(tools)

    def _loader(self) -> StepLoader:
        config, session, batch = self.config, self.session, self.config.batch
        mixture, workers = self.stage.mixture, session.settings.workers
        lengths = None
        if batch.tokens:
            lengths = measure(
                mixture, self.preparer, workers=workers, on_bad_image=config.on_bad_image
            )
        plan = Plan(
            mixture,
            samples=batch.samples,
            tokens=batch.tokens,
            epochs=config.epochs,
            steps=config.steps,
            seed=derive(session.settings.seed, "order", self.stage.index),
            lengths=lengths,
        )
        return StepLoader(
            plan,
            mixture,
            self.preparer,
            rank=session.parallel.rank,
            world=session.parallel.world,
            workers=workers,
            first_step=self.first_step,
            micro_samples=batch.micro_samples,
            micro_tokens=batch.micro_tokens,
            on_bad_image=config.on_bad_image,
            max_skipped=config.max_skipped,
            skipped=self.skipped // session.parallel.world,
        )

    def _engine(self, checkpoint: Checkpoint | None) -> Engine:
        session, config, objective = self.session, self.config, self.stage.objective
        groups = [group for item in self.tuned for group in item.groups]
        if own := dict(objective.named_parameters()):
            groups.append(ParameterGroup("objective", own))
        if not groups:
            raise PartError(
                f"stages[{self.stage.index}].train: nothing learns; write `full` or another "
                "tuner for at least one part"
            )
        engine = Engine(
            Root(session.model, objective, session.settings.precision == "bf16"),
            build_optimizer(groups, config.optimizer),
            session.parallel,
            name=config.name,
            clip=config.optimizer.clip,
            seed=derive(session.settings.seed, "draws", self.stage.index),
            spare=self._spare,
        )
        if checkpoint:
            objective.load_state_dict(checkpoint.objective())
            restore_optimizer(engine.optimizer, engine.learning, checkpoint.optimizer())
        return engine

    def _validation(self) -> Validation | None:
        if self.config.validation is None:
            return None
        return Validation(self.session, self.stage, self.config.validation, self.preparer)

    def _spare(self) -> Batch:
        """A batch of the first sample that can be had."""
        for number in range(len(self.stage.mixture)):
            try:
                return self.preparer.collate([self.preparer.prepare(self.stage.mixture[number])])
            except (ImageError, Unsupervised):
                continue
        raise DataError(f"stages[{self.stage.index}].data: no sample of it can be used")


def timed(steps: Iterator[StepData]) -> Iterator[tuple[StepData, float, float]]:
    """Each step's data, when the wait for it began, and how long it was, in seconds."""
    begun = time.monotonic()
    for data in steps:
        yield data, begun, time.monotonic() - begun
        begun = time.monotonic()
