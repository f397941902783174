"""What a run leaves of its course: `metrics.jsonl`, `curves.png`, and trackers.

All of them listen to the run's events, on the main process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isthmus.core.contracts import (
    CheckpointSaved,
    Evaluated,
    Events,
    StageEnded,
    StepEnded,
)
from isthmus.core.train.curves import draw_curves
from isthmus.core.train.lines import LineFile, read_lines
from isthmus.errors import InputError

METRICS, CURVES = "metrics.jsonl", "curves.png"
SKIPPED, LEDGER = "skipped.jsonl", "samples.jsonl"


def step_metrics(event: StepEnded) -> dict[str, float]:
    """The numbers of a step, as files and trackers name them."""
    seconds = max(event.seconds, 1e-9)
    work = {"flops": event.flops, "mfu": event.mfu, "hfu": event.hfu}
    return {
        "loss": event.loss,
        "lr": event.lr,
        "grad_norm": event.grad_norm,
        "tokens_per_s": event.tokens / seconds,
        "samples_per_s": event.samples / seconds,
        "data_wait": event.data_wait,
        "images": event.images,
        "seconds": event.seconds,
        "supervised": event.supervised,
        **{name: value for name, value in work.items() if value is not None},
        **event.metrics,
    }


class MetricsFile(Events):
    """One JSON line a step and a validation; the curves are drawn anew when it matters."""

    def __init__(self, out: Path, done: Mapping[str, float]) -> None:
        self.lines = LineFile(out / METRICS, done)
        self.curves = out / CURVES

    def step_ended(self, event: StepEnded) -> None:
        self.lines.add(event.stage, event.step, step_metrics(event))

    def evaluated(self, event: Evaluated) -> None:
        self.lines.add(event.stage, event.step, event.metrics)

    def checkpoint_saved(self, event: CheckpointSaved) -> None:
        draw_curves(self.lines.path, self.curves)

    def stage_ended(self, event: StageEnded) -> None:
        draw_curves(self.lines.path, self.curves)


class Trackers(Events):
    """Sends the same numbers to Accelerate's trackers (TensorBoard, W&B).

    Their step counts on from stage to stage; `before` were taken in stages that are over.
    """

    def __init__(self, trackers: Sequence[Any], before: int = 0) -> None:
        self.trackers = trackers
        self.before = before

    def step_ended(self, event: StepEnded) -> None:
        self._log(event.stage, event.step, step_metrics(event))

    def evaluated(self, event: Evaluated) -> None:
        self._log(event.stage, event.step, event.metrics)

    def stage_ended(self, event: StageEnded) -> None:
        self.before += event.step

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.finish()

    def _log(self, stage: str, step: int, numbers: Mapping[str, float]) -> None:
        values = {f"{stage}/{name}": value for name, value in numbers.items()}
        for tracker in self.trackers:
            tracker.log(values, step=self.before + step)


def steps_over(out: Path, done: Mapping[str, float]) -> int:
    """Steps of the stages of a resumed run that are over, by its metrics file."""
    last = {line["stage"]: int(line["step"]) for line in read_lines(out / METRICS)}
    return sum(step for stage, step in last.items() if done.get(stage) == math.inf)


def check_trackers(names: Sequence[str]) -> None:
    """Accelerate silently drops a tracker whose package is missing; say so instead."""
    for name in names:
        if find_spec(name) is None:
            raise InputError(
                f"trackers: {name} is not installed. Write: pip install 'isthmus[{name}]', "
                f"or take {name!r} out of `trackers`"
            )
