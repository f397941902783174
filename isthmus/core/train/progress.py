"""What a run leaves of its course: `metrics.jsonl`, `curves.png`, and trackers.

All of them listen to the run's events, on the main process.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.core.contracts import (
    CheckpointSaved,
    Evaluated,
    Events,
    StageEnded,
    StepEnded,
)
from isthmus.core.train.curves import draw_curves, read_metrics
from isthmus.errors import InputError

METRICS, CURVES = "metrics.jsonl", "curves.png"


def step_metrics(event: StepEnded) -> dict[str, float]:
    """The numbers of a step, as files and trackers name them."""
    seconds = max(event.seconds, 1e-9)
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
        **event.metrics,
    }


class MetricsFile(Events):
    """One JSON line a step and a validation; the curves are drawn anew when it matters.

    `done` (stage -> its last step that counts) is where a resumed run takes up: what an
    interrupted run had written beyond it is forgotten.
    """

    def __init__(self, out: Path, done: Mapping[str, float]) -> None:
        self.metrics, self.curves = out / METRICS, out / CURVES
        lines = [
            line
            for line in read_metrics(self.metrics)
            if line["step"] <= done.get(line["stage"], -1)
        ]
        partial = self.metrics.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
        partial.replace(self.metrics)

    def step_ended(self, event: StepEnded) -> None:
        self._write(event.stage, event.step, step_metrics(event))

    def evaluated(self, event: Evaluated) -> None:
        self._write(event.stage, event.step, event.metrics)

    def checkpoint_saved(self, event: CheckpointSaved) -> None:
        draw_curves(self.metrics, self.curves)

    def stage_ended(self, event: StageEnded) -> None:
        draw_curves(self.metrics, self.curves)

    def _write(self, stage: str, step: int, numbers: Mapping[str, float]) -> None:
        line = {"stage": stage, "step": step, **numbers}
        with self.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Trackers(Events):
    """Sends the same numbers to Accelerate's trackers (TensorBoard, W&B).

    Their step counts on from stage to stage.
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


def check_trackers(names: Sequence[str]) -> None:
    """Accelerate silently drops a tracker whose package is missing; say so instead."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"trackers: {name} is not installed. Write: pip install 'isthmus[{name}]', "
                f"or take {name!r} out of `trackers`"
            )
