"""Every connector between the same encoder and the same LLM, trained alike and asked the same.

    python examples/demo/compare.py [--folder compare] [--only linear,qformer] [--steps 100]

An encoder and an LLM are pretrained once. Then each connector is drawn anew between them, aligned
and instructed on the same samples in the same order, two connectors at a time, a thread each. All
are asked the same questions about scans that no stage has seen. Stopped half-way, the same command
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from compared import read_rows, write_files
from jobs import ENVIRONMENT, Job, console, run_jobs, settings
from scenes import write as write_data

HERE = Path(__file__).resolve().parent
SCENES = 8000
QUESTIONS = 640
ALIKE = "heads: 4, head_dim: 32"
CONNECTORS = {
    "identity": "{type: identity}",
    "linear": "{type: linear}",
    "mlp": "{type: mlp}",
    "pixel_shuffle": "{type: pixel_shuffle, factor: 2}",
    "pool": "{type: pool, side: 2}",
    "c_abstractor": "{type: c_abstractor, side: 2, blocks: 1, dim: 128}",
    "cross_attention": f"{{type: cross_attention, queries: 4, {ALIKE}}}",
    "resampler": f"{{type: resampler, queries: 4, layers: 3, {ALIKE}}}",
    "qformer": "{type: qformer, queries: 4, dim: 128, layers: 3, heads: 4, hidden: 512, every: 1, "
    "dropout: 0.0}",
    "gated_cross_attention": f"{{type: gated_cross_attention, every: 1, {ALIKE}}}",
}
"""As one would write them in the YAML, all about as wide and deep as the encoder and the LLM."""


class Comparison:
    """The folder of a comparison, and what is in it."""

    def __init__(self, folder: Path, seed: int, steps: int | None) -> None:
        self.folder = folder
        self.seed, self.steps = seed, steps

    def claim(self) -> None:
        """Refuse a folder that holds another comparison."""
        note = self.folder / "comparison.json"
        now = {"seed": self.seed, "steps": self.steps}
        if note.exists() and (before := json.loads(note.read_text())) != now:
            sys.exit(f"{self.folder} holds a comparison with {before}, and this one is {now}; "
                     "give another --folder")  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(now))

    def make_data(self) -> None:
        """Scenes and instruction data, unless they are whole already."""
        data, made = self.folder / "data", self.folder / "data.tmp"
        if not data.exists():
            shutil.rmtree(made, ignore_errors=True)
            with console.status("make scenes of handwritten digits, and instructions about them"):
                write_data(made, train=SCENES, tests=QUESTIONS, seed=self.seed)
            made.rename(data)

    def pretrain(self, threads: int) -> None:
        """The encoder and the LLM that every connector stands between."""
        job = self.job("compare_pretrain.yaml", "pretrained", "--set", f"threads={threads}")
        if job.cost.state != "finished":
            run_jobs([job], at_once=1)

    def train(self, names: list[str], at_once: int) -> None:
        """Those of the connectors that are not trained yet."""
        start = settings({"start.checkpoint": self.folder.resolve() / "pretrained"})
        jobs = [self.job("compare.yaml", name, *start, *options_of(name)) for name in names]
        run_jobs([job for job in jobs if job.cost.state != "finished"], at_once)

    def job(self, yaml: str, name: str, *more: str) -> Job:
        """A training that goes on where it was, from data of this folder."""
        stages = planned(yaml).stages
        options = ["--resume", "--set", f"seed={self.seed}", *self.data(stages), *more]
        if self.steps:
            for number in range(len(stages)):
                options += ["--set", f"stages.{number}.steps={self.steps}"]
        steps = sum(self.steps or stage.steps for stage in stages)
        out = self.folder / name
        return Job(out.with_suffix(".log"), out, steps, "train", str(HERE / yaml), *options)

    def data(self, stages: Any) -> list[str]:
        """Settings that have stages read their data from this folder."""
        data, places = self.folder.resolve() / "data", {}
        for number, stage in enumerate(stages):
            for at, source in enumerate(stage.data):
                places[f"stages.{number}.data.{at}.file"] = data / source.file.name
                places[f"stages.{number}.data.{at}.images"] = data / "images"
        return settings(places)

    def evaluate(self, names: list[str]) -> None:
        """Ask all of them the held-out questions; what was answered before is kept."""
        models = {name: str(self.folder.resolve() / name) for name in names}
        places = {
            "models": json.dumps(models),
            "benchmarks.digits.data": self.folder.resolve() / "data" / "questions.jsonl",
            "benchmarks.digits.images": self.folder.resolve() / "data" / "images",
            "controls": "[]",
            "title": "Connectors compared",
        }
        verb = [sys.executable, "-m", "isthmus", "evaluate", str(HERE / "evaluate.yaml")]
        out = ["--out", str(self.folder / "evaluation")]
        done = subprocess.run([*verb, *settings(places), *out], env=ENVIRONMENT)
        if done.returncode:
            sys.exit(done.returncode)


def planned(yaml: str) -> Any:
    """The run of a YAML beside this file."""
    from isthmus.core.config import load
    from isthmus.core.train.config import RunConfig

    return load(RunConfig, HERE / yaml)


def options_of(name: str) -> list[str]:
    """What a connector's run has otherwise than compare.yaml."""
    options = ["--set", f"model.connector={CONNECTORS[name]}"]
    if name == "identity":  # has nothing to align: the LLM learns to read it
        for number in range(2):
            options += ["--set", f"stages.{number}.train={{llm: full}}"]
    return options


def main() -> None:
    """Data, pretraining, every connector, questions, and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("compare"))
    parser.add_argument("--only", default=",".join(CONNECTORS), help="connectors, by commas")
    parser.add_argument("--steps", type=int, help="of every stage, in place of the YAML's")
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and data order")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, a thread each")
    parser.add_argument("--docs", type=Path, help="also bring the page in this folder up to date")
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := [name for name in names if name not in CONNECTORS]:
        known = ", ".join(CONNECTORS)
        parser.error(f"--only: no connector {', '.join(unknown)}; there are {known}")
    if given.docs and names != list(CONNECTORS):
        parser.error("--docs: the page has all connectors; leave out --only")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    comparison = Comparison(given.folder, given.seed, given.steps)
    try:
        comparison.claim()
        comparison.make_data()
        comparison.pretrain(given.jobs)
        comparison.train(names, given.jobs)
        comparison.evaluate(names)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    write_files(read_rows(given.folder, names), given.folder, given.docs)


if __name__ == "__main__":
    main()
