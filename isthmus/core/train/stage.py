"""One stage, step after step, to its last checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from isthmus.core.checkpoint import Checkpoint
from isthmus.core.contracts import Evaluated, StageEnded, StageStarted
from isthmus.core.data.loader import StepData, StepLoader
from isthmus.core.train.evaluating import Evaluation
from isthmus.core.train.features import kept_notes, open_store
from isthmus.core.train.filling import pads
from isthmus.core.train.freeze import FrozenWeights
from isthmus.core.train.meter import Meter, Tally
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.optimizer import set_lr
from isthmus.core.train.schedule import lr_factor
from isthmus.core.train.session import Session
from isthmus.core.train.setup import make_engine, make_loader, make_preparer, tune
from isthmus.core.train.start import state_of
from isthmus.core.train.tuning import table
from isthmus.core.train.validation import Validation
from isthmus.errors import DataError, Interrupted


class Stage:
    """A stage under way. `checkpoint` is one of this stage, to go on from."""

    def __init__(self, session: Session, stage: OpenStage, checkpoint: Checkpoint | None) -> None:
        self.session, self.stage, self.config = session, stage, stage.config
        state = state_of(checkpoint) if checkpoint else None
        self.first_step = state.step if state else 0
        self.skipped = int(state.data["skipped"]) if state else 0
        self.owed = tuple(state.extra.get("owed") or ()) if state else ()
        self.tuned = tune(session, stage, fresh=checkpoint is None)
        self.store = session.model.store = open_store(session, stage)
        preparer = make_preparer(session, stage)
        data = state.data if state else {}
        self.loader = make_loader(session, stage, preparer, self.first_step, data)
        self.steps = self.loader.steps
        self.meter = Meter(session, stage, self.steps)
        self.frozen = FrozenWeights(session.model.parts())
        self.engine = make_engine(session, stage, self.tuned, preparer, checkpoint)
        self.measured: dict[str, Validation | Evaluation] = {}
        if held_out := self.config.validation:
            self.measured["validation"] = Validation(session, stage, held_out, preparer)
        if asked := self.config.evaluate:
            self.measured["evaluation"] = Evaluation(session, stage, asked)

    def train(self) -> Path:
        """Take the steps that are left; returns the stage's last checkpoint.

        Raises Interrupted, after saving, when a signal asked for it.
        """
        started = time.monotonic()
        self._announce()
        self.engine.root.train()
        if self.owed:
            self._after_step(self.first_step, None, self.owed)
        for data, begun, waited in timed(iter(self.loader)):
            signal = self._step(data, begun, waited)
            self._after_step(data.step + 1, signal)
        self.engine.close()
        self.frozen.check(self.session.model.parts())
        for item in self.tuned:
            self.session.history.finish(item)
        objective = self.stage.objective
        self.session.heads = objective.name, objective.state_dict()
        folder = self._save(self.steps, finished=True)
        seconds = time.monotonic() - started
        notes = kept_notes(self.store)
        event = StageEnded(self.config.name, self.steps, seconds, self.skipped, notes)
        self.session.tell("stage_ended", event)
        return folder

    def _step(self, data: StepData, begun: float, waited: float) -> int | None:
        """One step; returns the signal that some process got."""
        session, name, step = self.session, self.config.name, data.step + 1
        lr = set_lr(self.engine.optimizer, lr_factor(self.config.schedule, data.step, self.steps))
        own = [*self.meter.count(data, waited, self.engine.layers)]
        result = self.engine.step(
            data.step,
            data.batches,
            lambda: [*own, float(session.writer.over), *session.stop.share()],
        )
        counts = Tally(*result.shared[: len(own)])
        saved, *signals = result.shared[len(own) :]
        session.list_used(name, step, data.batches)
        if saved:
            session.settle()
        if counts.skipped:
            self.skipped += int(counts.skipped)
            session.list_skipped(name, step, data.skipped)
            self._check_skipped(step)
        if event := self.meter.event(step, result, counts, lr, begun):
            session.tell("step_ended", event)
        return session.stop.agreed(signals)

    def _check_skipped(self, step: int) -> None:
        """Raises DataError on all processes at once where too many samples were left out. One
        process alone is told by its loader, before the step."""
        if not isinstance(self.loader, StepLoader):
            return
        share, samples = self.config.max_skipped, self.loader.plan.num_samples
        if self.skipped > share * samples:
            raise DataError(
                f"{self.config.name}, step {step}: {self.skipped} samples were left out, more "
                f"than the share of {share:g} (`max_skipped`) of all {samples} that may be; "
                "skipped.jsonl in the run's folder lists them. Repair the data, or allow more."
            )

    def _after_step(self, step: int, signal: int | None, owed: Sequence[str] | None = None) -> None:
        """Measuring and saving where they are due, and the end where a signal asked. The
        checkpoint of a signal remembers what is still `owed`: what of it was not measured."""
        waiting = [name for name in self.measured if owed is None or name in owed]
        waiting = [name for name in waiting if self._due(name, step)]
        while waiting and not signal:
            signal = self._measure(self.measured[waiting[0]], step)
            if not signal:
                waiting.pop(0)
        if step == self.steps and not waiting:
            return
        if not signal and not self._save_due(step):
            return
        folder = self._save(step, owed=waiting)
        if signal:
            self.session.settle()
            raise Interrupted(
                f"stopped by a signal after step {step} of {self.steps} of "
                f"{self.config.name!r}; saved {folder}. Go on with --resume",
                signal,
            )

    def _save_due(self, step: int) -> bool:
        return self.config.save_every is not None and step % self.config.save_every == 0

    def _due(self, name: str, step: int) -> bool:
        every = self.measured[name].config.every
        return step == self.steps or bool(every and step % every == 0)

    def _measure(self, what: Validation | Evaluation, step: int) -> int | None:
        """Returns the signal that cut it short, if one did."""
        metrics = what.run(self.engine, step)
        if metrics is None:
            return self.session.asked_to_stop()
        self.session.tell("evaluated", Evaluated(self.config.name, step, metrics))
        return None

    def _save(self, step: int, *, finished: bool = False, owed: Sequence[str] = ()) -> Path:
        if self.store:
            self.store.flush()
        data = {"skipped": self.skipped, **self.loader.position}
        return self.session.save(self.stage, step, data, self.engine, finished=finished, owed=owed)

    def _announce(self) -> None:
        session, config = self.session, self.config
        notes, session.notes = [*session.notes], ()
        llm = session.model.llm
        if pads(llm):
            family = getattr(llm, "family", "the llm")
            notes.append(f"{family} cannot run packs; samples are padded to the longest")
        if self.store and self.store.stopped:
            notes.append(f"features: {self.store.stopped}")
        event = StageStarted(
            stage=config.name,
            index=self.stage.index,
            stages=len(session.settings.stages),
            steps=self.steps,
            first_step=self.first_step,
            table=table(
                session.model.parts(),
                dict(session.settings.model.parts()),
                self.tuned,
                self.stage.objective,
                config.optimizer,
            ),
            notes=notes,
        )
        session.tell("stage_started", event)


def timed(steps: Iterator[StepData]) -> Iterator[tuple[StepData, float, float]]:
    """Each step's data, when the wait for it began, and how long it was, in seconds."""
    begun = time.monotonic()
    for data in steps:
        yield data, begun, time.monotonic() - begun
        begun = time.monotonic()
