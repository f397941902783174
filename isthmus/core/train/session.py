"""What all stages of a run share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from isthmus.core.checkpoint import (
    CHECKPOINTS,
    TrainerState,
    Writer,
    checkpoint_name,
    flatten_optimizer,
    prepare,
)
from isthmus.core.config import dump
from isthmus.core.contracts import Batch, CheckpointSaved, Events
from isthmus.core.data.loader import Skipped
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.config import RunConfig
from isthmus.core.train.engine import Engine
from isthmus.core.train.history import History
from isthmus.core.train.lines import LineFile
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.signals import StopFlag


@dataclass
class Session:
    """A run under way, seen from one process. `events` hear of it on the main one alone, which
    has the files too: `left_out` lists what loaders skipped, `ledger` what steps used. `notes`
    are said when the next stage begins; `saving` is to be told when its checkpoint is whole."""

    settings: RunConfig
    parallel: Parallel
    model: VisionLanguageModel
    history: History
    events: Events
    left_out: LineFile | None
    stop: StopFlag
    writer: Writer
    notes: tuple[str, ...] = ()
    saving: CheckpointSaved | None = None
    ledger: LineFile | None = None
    heads: tuple[str, Mapping[str, Tensor]] | None = None
    """The objective of the stage before, and the weights of its own that it has learnt."""

    def tell(self, what: str, event: Any) -> None:
        """Fire an event."""
        if self.parallel.is_main:
            getattr(self.events, what)(event)

    def list_skipped(self, stage: str, step: int, skipped: Sequence[Skipped]) -> None:
        """Write down what all processes left out of a step."""
        for own in self.parallel.gather(skipped):
            for sample in own:
                if self.left_out:
                    self.left_out.add(stage, step, asdict(sample))

    def list_used(self, stage: str, step: int, batches: Sequence[Batch]) -> None:
        """Write down which samples a step was of, on all processes, where that was asked for."""
        if self.settings.ledger:
            own = [sample for batch in batches for sample in batch.samples]
            used = [sample for each in self.parallel.gather(own) for sample in each]
            if self.ledger:
                self.ledger.add(stage, step, {"samples": used})

    def asked_to_stop(self) -> int | None:
        """The signal that some process got, the same answer on all of them."""
        return self.stop.agreed(self.parallel.sum(self.stop.share()))

    def save(
        self,
        stage: OpenStage,
        step: int,
        data: Mapping[str, Any],
        engine: Engine,
        *,
        finished: bool,
        owed: Sequence[str] = (),
    ) -> Path:
        """Begin to write a checkpoint of this moment, after the one before it; that of a stage's
        end is waited for. `data` is where the loader stands, `owed` what a signal kept from being
        measured, for whoever goes on from here."""
        self.settle()
        name = stage.config.name
        folder = self.settings.out / CHECKPOINTS / checkpoint_name(stage.index, name, step)
        state = TrainerState(
            stage=name,
            index=stage.index,
            step=step,
            finished=finished,
            data=data,
            fingerprints=stage.fingerprints,
            extra={"changed": sorted(self.history.changed), "owed": [*owed]},
        )
        shared, objective = engine.shared, stage.objective
        moments: dict[str, Tensor] = {}
        heads = shared.state(objective) or objective.state_dict()
        if not finished:
            moments = shared.whole(flatten_optimizer(engine.optimizer, engine.learning))
        states = {} if finished else self._gathered(engine)
        self.parallel.on_main(
            lambda: self._write(
                folder,
                self.model,
                dump(self.settings),
                trainer=state,
                optimizer=moments,
                objective=heads,
                unchanged=self.history.unchanged,
                tuners=self.history.added,
                states=states,
                keep=self.settings.keep,
            )
        )
        self.saving = CheckpointSaved(name, step, folder)
        if finished or self.settings.save == "sync":
            self.settle()
        return folder

    def settle(self) -> None:
        """Wait until the checkpoint under way is whole, and tell of it; what went wrong with it
        is raised on all processes."""
        event, self.saving = self.saving, None
        if event is not None:
            self.parallel.on_main(self.writer.wait)
            self.tell("checkpoint_saved", event)

    def _write(self, *place: Any, **moment: Any) -> None:
        copies = self.settings.save == "async"
        self.writer.start(prepare(*place, copies=copies, **moment))

    def _gathered(self, engine: Engine) -> dict[str, dict[str, Tensor]]:
        """Part -> its whole state, of the parts that processes hold slices of."""
        states = {}
        for name, part in self.model.parts().items():
            only = None
            if name in self.history.unchanged:
                added = (tuner.build().added(part) for tuner in self.history.added.get(name, ()))
                only = frozenset[str]().union(*added)
            state = engine.shared.state(part, only)
            if state is not None:
                states[name] = state
        return states
