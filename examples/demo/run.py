"""The whole of LLaVA in miniature: make the data, train, evaluate beside a blind control, report.

    python examples/demo/run.py [--folder demo] [--seed 0]

Two models go through the same stages at the same time, one thread each: one sees the pictures,
the other sees grey ones. Both are then asked the same questions about scenes made of scans that no
stage has seen, by `isthmus evaluate`, which writes the report. Every number of it is computed here,
in this run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from scenes import write as write_data

HERE = Path(__file__).resolve().parent
MODELS = ("sighted", "blind")
SCENES = 8000
QUESTIONS = 500
POLL_SECONDS = 0.5
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
console = Console()


class Job:
    """One command of isthmus, run beside others; its output goes to a log file."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        command = [sys.executable, "-m", "isthmus", *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
        self.peak_gib = 0.0

    def running(self) -> bool:
        """Whether it still works; a failure ends the demo with what it printed."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid == 0:
                return True
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.peak_gib = usage.ru_maxrss / 2**20
        if self.process.returncode:
            console.print(self.log.read_text()[-3000:], markup=False)
            sys.exit(f"{self.name} failed with exit code {self.process.returncode}; see {self.log}")
        return False


def at_work(jobs: list[Job]) -> bool:
    """Whether any still works; each is asked, so that no failure waits for another's end."""
    return any([job.running() for job in jobs])  # noqa: C419


def last_step(folder: Path) -> dict[str, float | str]:
    """The newest line of a run's metrics, or nothing yet."""
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the line being written just now
            continue
        if "loss" in row:
            return row
    return {}


def train(folder: Path, total_steps: int, seed: int) -> float:
    """Train both models at once; returns their peak memory together, in GiB."""
    jobs = []
    for name in MODELS:
        blind = [] if name == "sighted" else ["--set", "blind=true"]
        config = str(HERE / "demo.yaml")
        options = ("--out", str(folder / name), "--set", f"seed={seed}", *blind, *data_at(folder))
        jobs.append(Job(folder, f"train-{name}", "train", config, *options))
    columns = (
        TextColumn("{task.description:24}"), BarColumn(), TextColumn("{task.fields[state]:32}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bars = [progress.add_task(f"train {n}", total=total_steps, state="starts") for n in MODELS]
        try:
            while at_work(jobs):
                for name, bar in zip(MODELS, bars, strict=True):
                    show_progress(progress, bar, folder / name)
                time.sleep(POLL_SECONDS)
        except BaseException:
            for job in jobs:
                job.process.terminate()
            raise
        for bar in bars:
            progress.update(bar, completed=total_steps)
    return sum(job.peak_gib for job in jobs)


def show_progress(progress: Progress, bar: int, run: Path) -> None:
    """Move one bar to where its run is."""
    row = last_step(run)
    if row:
        done = len([1 for line in (run / "metrics.jsonl").read_text().splitlines() if line])
        state = f"{row['stage']} {row['step']}, loss {row['loss']:.3f}"
        progress.update(bar, completed=done, state=state)


def evaluate(folder: Path) -> dict[str, Any]:
    """Ask both models the held-out questions; returns the headline's figures, in shares of 1."""
    data, out = folder.resolve() / "data", folder / "evaluation"
    places = {
        **{f"models.{name}": folder.resolve() / name for name in MODELS},
        "benchmarks.digits.data": data / "questions.jsonl",
        "benchmarks.digits.images": data / "images",
    }
    verb = [sys.executable, "-m", "isthmus", "evaluate", str(HERE / "evaluate.yaml")]
    done = subprocess.run([*verb, *settings(places), "--out", str(out)], env=ENVIRONMENT)
    if done.returncode:
        sys.exit(done.returncode)
    scores = [json.loads((out / n / "digits" / "scores.json").read_text()) for n in MODELS]
    sighted, blind = ({kind: share(v) for kind, v in each["by"].items()} for each in scores)
    return {
        "questions": scores[0]["n_total"],
        "accuracy": sighted.pop("accuracy"),
        "accuracy_by_type": sighted,
        "blind_accuracy": blind.pop("accuracy"),
        "blind_accuracy_by_type": blind,
        "majority_accuracy": share(scores[0]["most_frequent"]),
    }


def share(percent: float) -> float:
    return round(percent / 100, 4)


def planned() -> Any:
    """The demo's run, read from its YAML."""
    from isthmus.core.config import load
    from isthmus.core.train.config import RunConfig

    return load(RunConfig, HERE / "demo.yaml")


def data_at(folder: Path) -> list[str]:
    """Settings that have the run read its data from this folder."""
    places = {}
    for number, stage in enumerate(planned().stages):
        for at, source in enumerate(stage.data):
            where = f"stages.{number}.data.{at}"
            places[f"{where}.file"] = folder.resolve() / "data" / source.file.name
            places[f"{where}.images"] = folder.resolve() / "data" / "images"
    return settings(places)


def settings(places: dict[str, Path]) -> list[str]:
    """As options of the command line."""
    return [word for place, path in places.items() for word in ("--set", f"{place}={path}")]


def main() -> None:
    """Data, training, evaluation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"))
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and data order")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    began = time.monotonic()
    with console.status("make scenes of handwritten digits, and instruction data about them"):
        write_data(folder / "data", train=SCENES, tests=QUESTIONS, seed=arguments.seed)
    seconds = {"data": time.monotonic() - began}
    peak = train(folder, sum(stage.steps or 0 for stage in planned().stages), arguments.seed)
    seconds.update(stage_seconds(folder / "sighted"))
    start = time.monotonic()
    results = evaluate(folder)
    seconds["evaluate"] = time.monotonic() - start
    results["seconds_by_stage"] = {name: round(value, 1) for name, value in seconds.items()}
    results["seconds"] = round(time.monotonic() - began, 1)
    results["peak_rss_gib"] = round(peak, 2)
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(
        f"right answers: {results['accuracy']:.1%} with pictures, "
        f"{results['blind_accuracy']:.1%} blind; {results['seconds']:.0f} s\n"
        f"report: {folder / 'evaluation' / 'report.html'}\n"
        f"talk to it: {sys.executable} -m isthmus chat --model {folder / 'sighted'} "
        f"--image {folder / 'data' / 'images'}/<one>.png"
    )


def stage_seconds(run: Path) -> dict[str, float]:
    """Seconds of each stage's steps, from the run's metrics."""
    seconds: dict[str, float] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "seconds" in row and "loss" in row:
            seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
    return seconds


if __name__ == "__main__":
    main()
