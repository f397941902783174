"""What a training run looks like in a terminal: tables, one progress bar; or plain lines.

Listens to the run's events. Where output is no terminal (a log file, CI), a line is written
every twentieth of a stage, or every ten seconds of a slow one.
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from isthmus.core.contracts import (
    CheckpointSaved,
    Evaluated,
    Events,
    StageEnded,
    StageStarted,
    StepEnded,
)

LINES = 20
SECONDS = 10.0


class Speed:
    """Rates over the last steps: a step's own jump too much to be read."""

    def __init__(self) -> None:
        self.recent: list[StepEnded] = []

    def add(self, event: StepEnded) -> None:
        self.recent = [*self.recent[-19:], event]

    def describe(self) -> str:
        """`loss 2.31  lr 1.0e-03  1,204 tokens/s  37.1 samples/s  data wait 2%  packs 98% full
        MFU 41.5%`: packs where they have a capacity, MFU where the device's peak is known."""
        seconds = max(sum(event.seconds for event in self.recent), 1e-9)
        tokens = sum(event.tokens for event in self.recent) / seconds
        samples = sum(event.samples for event in self.recent) / seconds
        wait = sum(event.data_wait * event.seconds for event in self.recent) / seconds
        loss = sum(event.loss for event in self.recent) / len(self.recent)
        full = [e.metrics["packing"] for e in self.recent if "packing" in e.metrics]
        packs = f"  packs {sum(full) / len(full):.0%} full" if full else ""
        used = sum((event.mfu or 0.0) * event.seconds for event in self.recent) / seconds
        mfu = "" if self.recent[-1].mfu is None else f"  MFU {used:.1%}"
        return (
            f"loss {loss:.3f}  lr {self.recent[-1].lr:.1e}  {tokens:,.0f} tokens/s  "
            f"{samples:.1f} samples/s  data wait {wait:.0%}{packs}{mfu}"
        )

    def eta(self, steps: int) -> str:
        """Time until the stage's end, at the present speed."""
        mean = sum(event.seconds for event in self.recent) / len(self.recent)
        return clock(mean * (steps - self.recent[-1].step))


class Display(Events):
    """What both have in common: the stage's table, validations and checkpoints."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.speed = Speed()
        self.began = False

    def stage_started(self, event: StageStarted) -> None:
        self.began = True
        self.speed = Speed()
        at = f", from step {event.first_step}" if event.first_step else ""
        self.console.print(
            f"Stage {event.index + 1} of {event.stages}: {event.stage}, {event.steps} steps{at}",
            style="bold",
            highlight=False,
        )
        self.console.print(parts_table(event))
        for note in event.notes:
            self.console.print(f"note: {note}", markup=False, highlight=False)

    def evaluated(self, event: Evaluated) -> None:
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        self.console.print(f"step {event.step}: {numbers}", markup=False, highlight=False)

    def checkpoint_saved(self, event: CheckpointSaved) -> None:
        text = f"step {event.step}: saved {event.folder}"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stage_ended(self, event: StageEnded) -> None:
        text = f"{event.stage}: {event.step} steps in {clock(event.seconds)}"
        self.console.print(text, markup=False, highlight=False)
        if event.skipped:
            text = f"note: {event.skipped} samples were left out; skipped.jsonl lists them"
            self.console.print(text, markup=False, highlight=False)
        for note in event.notes:
            self.console.print(f"note: {note}", markup=False, highlight=False)

    def close(self) -> None:
        return


class Bar(Display):
    """One live progress bar below everything else."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.progress: Progress | None = None
        self.task: Any = None

    def stage_started(self, event: StageStarted) -> None:
        super().stage_started(event)
        # In a narrow terminal the speed goes on a second line, and nothing else shrinks.
        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=max(8, min(40, self.console.width - 120))),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[speed]}", table_column=Column()),
            console=self.console,
        )
        self.task = self.progress.add_task(
            event.stage, total=event.steps, completed=event.first_step, speed=""
        )
        self.progress.start()

    def step_ended(self, event: StepEnded) -> None:
        self.speed.add(event)
        if self.progress:
            self.progress.update(self.task, completed=event.step, speed=self.speed.describe())

    def stage_ended(self, event: StageEnded) -> None:
        self.close()
        super().stage_ended(event)

    def close(self) -> None:
        if self.progress:
            self.progress.stop()
            self.progress = None


class Lines(Display):
    """A line now and then."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.said = time.monotonic()

    def step_ended(self, event: StepEnded) -> None:
        self.speed.add(event)
        part = max(1, event.steps // LINES)
        due = event.step % part == 0 or event.step == event.steps
        if due or time.monotonic() - self.said > SECONDS:
            self.said = time.monotonic()
            text = (
                f"{event.stage} {event.step}/{event.steps}  {self.speed.describe()}  "
                f"ETA {self.speed.eta(event.steps)}"
            )
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def parts_table(event: StageStarted) -> Table:
    """Who learns in this stage, how, how much of it, and how fast."""
    table = Table("part", "what", "tuner")
    for heading in ("parameters", "trainable", "lr"):
        table.add_column(heading, justify="right")
    for row in event.table:
        lr = "-" if row.lr is None else f"{row.lr:.1e}"
        table.add_row(
            row.part, row.what, row.tuner, f"{row.parameters:,}", f"{row.trainable:,}", lr
        )
    return table


def clock(seconds: float) -> str:
    """`0:42`, `12:05`, `3:07:00`"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
