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
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from compared import Cost, write_page
from jobs import ENVIRONMENT, Job, console, run_jobs, settings
from scenes import write as write_data

HERE = Path(__file__).resolve().parent
SCENES = 8000
QUESTIONS = 800
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

    def pretrain(self) -> None:
        """The encoder and the LLM, each as a folder that transformers would have written."""
        place = self.folder / "pretrained"
        if (place / "llm").exists():
            return
        place.mkdir(exist_ok=True)
        run_jobs([self.job("compare_pretrain.yaml", place / "run", place / "pretrain.log")], 1)
        with console.status("keep what was pretrained"):
            export(place / "run", place)

    def train(self, names: list[str], at_once: int) -> None:
        """Those of the connectors that are not trained yet."""
        runs = self.folder / "runs"
        runs.mkdir(exist_ok=True)
        parts = {f"model.{name}.model": self.folder.resolve() / "pretrained" / name
                 for name in ("encoder", "llm")}  # fmt: skip
        jobs = []
        for name in names:
            out = runs / name
            if not Cost.of(out).finished:
                more = [*settings(parts), "--set", f"model.connector={CONNECTORS[name]}"]
                if name == "identity":  # has no weights to align, so the LLM learns to read it
                    for number in range(2):
                        more += ["--set", f"stages.{number}.train={{llm: full}}"]
                jobs.append(self.job("compare.yaml", out, runs / f"{name}.log", more))
        run_jobs(jobs, at_once)

    def job(self, yaml: str, out: Path, log: Path, more: list[str] = ()) -> Job:
        """A training that goes on where it was, from data of this folder."""
        stages = planned(yaml).stages
        options = ["--resume", "--set", f"seed={self.seed}", *self.data(stages), *more]
        if self.steps:
            for number in range(len(stages)):
                options += ["--set", f"stages.{number}.steps={self.steps}"]
        steps = sum(self.steps or stage.steps for stage in stages)
        return Job(log, out, steps, "train", str(HERE / yaml), *options)

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
        models = {name: str(self.folder.resolve() / "runs" / name) for name in names}
        places = {
            "models": json.dumps(models),
            "benchmarks.digits.data": self.folder.resolve() / "data" / "questions.jsonl",
            "benchmarks.digits.images": self.folder.resolve() / "data" / "images",
            "controls": "[]",
            "title": "Connectors compared",
            "out": self.folder / "evaluation",
        }
        verb = [sys.executable, "-m", "isthmus", "evaluate", str(HERE / "evaluate.yaml")]
        done = subprocess.run([*verb, *settings(places)], env=ENVIRONMENT)
        if done.returncode:
            sys.exit(done.returncode)


def planned(yaml: str) -> Any:
    """The run of a YAML beside this file."""
    from isthmus.core.config import load
    from isthmus.core.train.config import RunConfig

    return load(RunConfig, HERE / yaml)


def export(run: Path, out: Path) -> None:
    """Write a run's encoder and LLM as transformers would; the LLM last, for it is looked for."""
    from isthmus.core.checkpoint import load

    model = load(run).model()
    encoder, llm = model.encoder, model.llm
    model_class, _ = encoder.classes()
    tower = model_class(encoder.shape)
    kept = (encoder.embeddings, encoder.before, encoder.blocks)
    for own, learnt in zip(encoder.split(tower), kept, strict=True):
        own.load_state_dict(learnt.state_dict())
    tower.save_pretrained(out / "encoder")
    llm.model.save_pretrained(out / "llm.tmp")
    llm.tokenizer.save_pretrained(out / "llm.tmp")
    os.replace(out / "llm.tmp", out / "llm")
