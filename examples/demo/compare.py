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
import signal
import sys
from pathlib import Path

from compared import read_rows, write_files
from demodata import HERE, SCENES, data_at, make_data, planned
from jobs import Job, isthmus, run_jobs, settings

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

    def __init__(self, folder: Path, scenes: int, seed: int, steps: int | None) -> None:
        self.folder = folder
        self.scenes, self.seed, self.steps = scenes, seed, steps

    def claim(self) -> None:
        """Refuse a folder that holds another comparison."""
        note = self.folder / "comparison.json"
        now = {"scenes": self.scenes, "seed": self.seed, "steps": self.steps}
        if note.exists() and (before := json.loads(note.read_text())) != now:
            sys.exit(f"{self.folder} holds a comparison with {before}, and this one is {now}; "
                     "give another --folder")  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(now))

    def pretrain(self, threads: int) -> None:
        """The encoder and the LLM that every connector stands between."""
        job = self.job("compare_pretrain.yaml", "pretrained", "--set", f"threads={threads}")
        if job.cost.state != "finished":
            run_jobs([job], at_once=1)

    def train(self, names: list[str], at_once: int) -> None:
        """Those of the connectors that are not trained yet; the slow ones come last in the table,
        and are trained first, lest one be waited for alone."""
        folder = self.folder.resolve()
        caches = {f"stages.{number}.features.cache": folder / "features" for number in range(2)}
        common = settings({"start.checkpoint": folder / "pretrained", **caches})
        jobs = [
            self.job("compare.yaml", name, *common, *options_of(name)) for name in reversed(names)
        ]
        run_jobs([job for job in jobs if job.cost.state != "finished"], at_once)

    def job(self, yaml: str, name: str, *more: str) -> Job:
        """A training that goes on where it was, from data of this folder."""
        stages = planned(yaml).stages
        options = ["--resume", "--set", f"seed={self.seed}", *data_at(self.folder, yaml), *more]
        if self.steps:
            for number in range(len(stages)):
                options += ["--set", f"stages.{number}.steps={self.steps}"]
        steps = sum(self.steps or stage.steps for stage in stages)
        out = self.folder / name
        return Job(out.with_suffix(".log"), out, steps, "train", str(HERE / yaml), *options)

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
        out = ("--out", str(self.folder / "evaluation"))
        isthmus("evaluate", str(HERE / "evaluate.yaml"), *settings(places), *out)


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
    parser.add_argument("--scenes", type=int, default=SCENES, help="for training")
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
    comparison = Comparison(given.folder, given.scenes, given.seed, given.steps)
    try:
        comparison.claim()
        make_data(given.folder, given.scenes, QUESTIONS, given.seed)
        comparison.pretrain(given.jobs)
        comparison.train(names, given.jobs)
        comparison.evaluate(names)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    write_files(read_rows(given.folder, names), given.folder, given.docs)


if __name__ == "__main__":
    main()
