"""Commands of isthmus side by side: started in turn, a bar each, and what they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

POLL_SECONDS = 0.5
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
console = Console()


@dataclass(frozen=True)
class Cost:
    """What a job took, all its attempts together; `cpu_seconds` None where one was killed."""

    state: str = "new"
    cpu_seconds: float | None = 0.0
    peak_gib: float = 0.0

    @classmethod
    def read(cls, file: Path) -> Cost:
        return cls(**json.loads(file.read_text())) if file.exists() else cls()

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)))


class Job:
    """A training in the folder `run`, of so many steps.

    Its output goes to a log file, and what it took to a `.json` beside that.
    """

    def __init__(self, log: Path, run: Path, steps: int, *arguments: str) -> None:
        self.name, self.log, self.run, self.steps = log.stem, log, run, steps
        self.command = [sys.executable, "-m", "isthmus", *arguments, "--out", str(run)]
        self.cost_file = log.with_suffix(".json")

    @property
    def cost(self) -> Cost:
        return Cost.read(self.cost_file)

    def start(self) -> None:
        before = self.cost
        known = None if before.state == "running" else before.cpu_seconds
        replace(before, state="running", cpu_seconds=known).write(self.cost_file)
        # In a group of its own, so that Ctrl-C reaches it once, by `stop`.
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=ENVIRONMENT, process_group=0,
            )  # fmt: skip

    def running(self) -> bool:
        """Whether it still works; a failure ends the program with what it printed."""
        if self.process.returncode is None and not self._ended(os.WNOHANG):
            return True
        if self.process.returncode:
            console.print(self.log.read_text()[-3000:], markup=False)
            sys.exit(f"{self.name} failed with exit code {self.process.returncode}; see {self.log}")
        return False

    def stop(self) -> None:
        """Let it save, and leave."""
        if self.process.returncode is None:
            self.process.terminate()
            self._ended(0)

    def _ended(self, how: int) -> bool:
        pid, status, usage = os.wait4(self.process.pid, how)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        before, took = self.cost, usage.ru_utime + usage.ru_stime
        Cost(
            state="stopped" if self.process.returncode else "finished",
            cpu_seconds=None if before.cpu_seconds is None else before.cpu_seconds + took,
            peak_gib=max(before.peak_gib, usage.ru_maxrss / 2**20),
        ).write(self.cost_file)
        return True


def run_jobs(jobs: Sequence[Job], at_once: int) -> None:
    """Run all, so many at once, in their order."""
    columns = (
        TextColumn("{task.description:24}"), BarColumn(), TextColumn("{task.fields[state]:32}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    waiting, active = list(jobs), dict[Job, int]()
    with Progress(*columns, console=console) as progress:
        try:
            while waiting or active:
                while waiting and len(active) < at_once:
                    job = waiting.pop(0)
                    job.start()
                    active[job] = progress.add_task(job.name, total=job.steps, state="starts")
                # Each is asked, so that no failure waits for another's end.
                for job in [job for job in active if not job.running()]:
                    progress.update(active.pop(job), completed=job.steps)
                for job, bar in active.items():
                    _show(progress, bar, job.run)
                time.sleep(POLL_SECONDS)
        except BaseException:
            for job in active:
                job.stop()
            raise


def _show(progress: Progress, bar: int, run: Path) -> None:
    """Move one bar to where its run is."""
    rows = steps_of(run)
    if rows:
        row = rows[-1]
        state = f"{row['stage']} {row['step']}, loss {row['loss']:.3f}"
        progress.update(bar, completed=len(rows), state=state)


def steps_of(run: Path) -> list[dict[str, float | str]]:
    """What a run noted of each of its steps so far."""
    rows, metrics = [], run / "metrics.jsonl"
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the line being written just now
            continue
        if "loss" in row:
            rows.append(row)
    return rows


def isthmus(*arguments: str) -> None:
    """One command of isthmus, on this screen; a failure ends the program."""
    command = [sys.executable, "-m", "isthmus", *arguments]
    if code := subprocess.run(command, env=ENVIRONMENT).returncode:
        sys.exit(code)


def settings(places: dict[str, Path]) -> list[str]:
    """As options of the command line."""
    return [word for place, path in places.items() for word in ("--set", f"{place}={path}")]


def share(percent: float) -> float:
    return round(percent / 100, 4)
