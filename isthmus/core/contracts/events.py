"""What a training run tells the world: the verb that started it listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.core.contracts.benchmark import Benchmark
    from isthmus.core.contracts.template import Template


@dataclass(frozen=True)
class PartRow:
    """One line of the table that a stage begins with."""

    part: str
    what: str
    tuner: str
    parameters: int
    trainable: int
    lr: float | None


@dataclass(frozen=True)
class StageStarted:
    """A stage begins: what it trains, how many steps, and where it takes up."""

    stage: str
    index: int
    stages: int
    steps: int
    first_step: int
    table: Sequence[PartRow]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class StepEnded:
    """One optimizer step. Rates are over all ranks; `data_wait` is its share of the time.

    `flops` are the operations that the model's mathematics takes for it (`core.train.flops`),
    None where they are not known; `mfu` the share of the devices' peak that they make up, `hfu`
    that of them and of the layers computed again to save memory.
    """

    stage: str
    step: int
    steps: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    supervised: float
    samples: int
    images: int
    seconds: float
    data_wait: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    flops: float | None = None
    mfu: float | None = None
    hfu: float | None = None


@dataclass(frozen=True)
class EvaluateDue:
    """The benchmarks of a stage are to be asked of the model as it is after `step`.

    `model` writes by `template`, and sees grey where it is `blind`. It goes on learning: nothing
    of it may be changed. `go_on` is to be called between batches of questions, since the other
    processes wait from one call to the next; it is False when the run was asked to stop.
    """

    stage: str
    step: int
    benchmarks: Mapping[str, Benchmark]
    max_questions: int | None
    max_new_tokens: int
    batch_size: int
    model: Any
    template: Template
    blind: bool
    go_on: Callable[[], bool]


@dataclass(frozen=True)
class Evaluated:
    """A stage's validation at `step`, or what its benchmarks came to."""

    stage: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class CheckpointSaved:
    """A whole checkpoint stands in `folder`."""

    stage: str
    step: int
    folder: Path


@dataclass(frozen=True)
class StageEnded:
    """A stage is done; `seconds` include its validation and saves. `skipped` samples were
    left out, as the run's `skipped.jsonl` lists them."""

    stage: str
    step: int
    seconds: float
    skipped: int = 0
    notes: Sequence[str] = ()


class Events:
    """Listens to a run, on the main process only. Override what you care for."""

    evaluates: bool = False
    """Whether it can answer `evaluate_due`."""

    def evaluate_due(self, event: EvaluateDue) -> Mapping[str, float] | None:
        """What the benchmarks came to, by the names that are to be logged; None when the run was
        asked to stop meanwhile."""
        return None

    def stage_started(self, event: StageStarted) -> None: ...
    def step_ended(self, event: StepEnded) -> None: ...
    def evaluated(self, event: Evaluated) -> None: ...
    def checkpoint_saved(self, event: CheckpointSaved) -> None: ...
    def stage_ended(self, event: StageEnded) -> None: ...


class EventList(Events):
    """Several listeners as one, told in order."""

    def __init__(self, listeners: Sequence[Events]) -> None:
        self.listeners = tuple(listeners)
        self.evaluates = any(listener.evaluates for listener in self.listeners)

    def evaluate_due(self, event: EvaluateDue) -> Mapping[str, float] | None:
        """The first that can is asked, and no other."""
        able = (listener for listener in self.listeners if listener.evaluates)
        return next(able).evaluate_due(event)

    def stage_started(self, event: StageStarted) -> None:
        for listener in self.listeners:
            listener.stage_started(event)

    def step_ended(self, event: StepEnded) -> None:
        for listener in self.listeners:
            listener.step_ended(event)

    def evaluated(self, event: Evaluated) -> None:
        for listener in self.listeners:
            listener.evaluated(event)

    def checkpoint_saved(self, event: CheckpointSaved) -> None:
        for listener in self.listeners:
            listener.checkpoint_saved(event)

    def stage_ended(self, event: StageEnded) -> None:
        for listener in self.listeners:
            listener.stage_ended(event)
