"""Listeners of a run for tests: what it said and wrote, and a crash in the middle of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.core.contracts import (
    CheckpointSaved,
    Evaluated,
    Events,
    StageEnded,
    StageStarted,
    StepEnded,
)


class Recorder(Events):
    """Remembers what it heard, and may do something at a step."""

    def __init__(self, at_step: Callable[[StepEnded], None] | None = None) -> None:
        self.at_step = at_step
        self.stages: list[StageStarted] = []
        self.steps: list[StepEnded] = []
        self.evaluated_: list[Evaluated] = []
        self.saved: list[CheckpointSaved] = []
        self.ended: list[StageEnded] = []

    def stage_started(self, event: StageStarted) -> None:
        self.stages.append(event)

    def step_ended(self, event: StepEnded) -> None:
        self.steps.append(event)
        if self.at_step:
            self.at_step(event)

    def evaluated(self, event: Evaluated) -> None:
        self.evaluated_.append(event)

    def checkpoint_saved(self, event: CheckpointSaved) -> None:
        self.saved.append(event)

    def stage_ended(self, event: StageEnded) -> None:
        self.ended.append(event)


class Crash(Exception):
    """What a test raises in the middle of a run."""


def crash_at(stage: str, step: int) -> Recorder:
    def crash(event: StepEnded) -> None:
        if (event.stage, event.step) == (stage, step):
            raise Crash

    return Recorder(crash)


def metrics(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timed = {"tokens_per_s", "samples_per_s", "seconds", "data_wait"}
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


def weights(folder: Path) -> dict[str, bytes]:
    """The files of weights in a checkpoint."""
    return {file.name: file.read_bytes() for file in sorted((folder / "model").iterdir())}
