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
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from demodata import HERE, data_at, make_data, planned
from jobs import Job, console, isthmus, run_jobs, settings, share, steps_of

MODELS = ("sighted", "blind")


def train(folder: Path, total_steps: int, seed: int) -> float:
    """Train both models at once; returns their peak memory together, in GiB."""
    jobs = []
    for name in MODELS:
        blind = [] if name == "sighted" else ["--set", "blind=true"]
        options = ("--set", f"seed={seed}", *blind, *data_at(folder))
        log, config = folder / f"train-{name}.log", str(HERE / "demo.yaml")
        jobs.append(Job(log, folder / name, total_steps, "train", config, *options))
    run_jobs(jobs, at_once=len(jobs))
    return sum(job.cost.peak_gib for job in jobs)


def evaluate(folder: Path) -> dict[str, Any]:
    """Ask both models the held-out questions; returns the headline's figures, in shares of 1."""
    data, out = folder.resolve() / "data", folder / "evaluation"
    places = {
        **{f"models.{name}": folder.resolve() / name for name in MODELS},
        "benchmarks.digits.data": data / "questions.jsonl",
        "benchmarks.digits.images": data / "images",
    }
    isthmus("evaluate", str(HERE / "evaluate.yaml"), *settings(places), "--out", str(out))
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
    make_data(folder, seed=arguments.seed)
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
    for row in steps_of(run):
        seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
    return seconds


if __name__ == "__main__":
    main()
