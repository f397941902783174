"""An evaluation, typed: which models are asked which benchmarks, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isthmus.core.contracts import Benchmark, Config, DataPath, Place, Source
from isthmus.core.model.settings import Settings
from isthmus.errors import did_you_mean

PositiveInt = Annotated[int, Field(gt=0)]
Control = Literal["blank", "shuffled"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""What models and benchmarks are called: folders are named after them."""
FILES = (".html", ".json", ".jsonl", ".yaml")
"""Endings of the files beside those folders."""


class ShotsConfig(Config):
    """Examples before every question of a benchmark, with their pictures and answers."""

    count: PositiveInt
    """How many stand before a question."""
    data: Source.Config
    """Where they are drawn from: data to train on, whose records are whole conversations."""
    seed: int = Field(default=0, ge=0)
    """Which ones, and in which order."""


class EvaluationConfig(Config):
    """Models and the benchmarks that each of them is asked."""

    models: dict[str, DataPath] = Field(min_length=1)
    """Name -> folder of a run, whose newest checkpoint answers, or of one checkpoint."""
    benchmarks: dict[str, Benchmark.Config] = Field(min_length=1)
    """Name -> benchmark."""
    out: Path = Path("runs/evaluation")
    """Folder of answers, scores and report."""
    title: str = ""
    """Title of the report."""
    controls: tuple[Control, ...] = ("blank", "shuffled")
    """Ask everything again with every picture grey (`blank`), and with pictures of other questions
    (`shuffled`): what words alone give, to set beside the score."""
    shots: dict[str, ShotsConfig] = Field(default_factory=dict)
    """Benchmark -> examples that stand before each of its questions; absent, none do."""
    max_questions: PositiveInt | None = None
    """Ask at most so many questions of each benchmark: always the same ones, and among those of a
    larger number."""
    runs: PositiveInt = 1
    """Ask everything so often, each time with other draws, to see how far scores spread; needs a
    temperature above 0."""
    batch_size: PositiveInt = 8
    """Questions at once."""
    generation: Settings = Settings()
    """How answers are generated."""
    prompts: tuple[str, ...] = Field(default=("{}",), min_length=1)
    """What a model without an LLM compares a picture with: each, with an option of the question in
    the place of `{}`; the vectors of several are averaged."""

    def check(self) -> Iterator[tuple[Place, str]]:
        for field in ("models", "benchmarks"):
            for name in getattr(self, field):
                if not NAME.fullmatch(name) or name.endswith(FILES):
                    why = (
                        "a name has letters, digits, `.`, `_` and `-`, and does not end like a file"
                    )
                    yield (field, name), f"a folder gets it: {why}"
        for name in self.shots:
            if name not in self.benchmarks:
                known = ", ".join(self.benchmarks)
                near = did_you_mean(name, list(self.benchmarks))
                yield ("shots", name), f"no benchmark has this name. Benchmarks: {known}.{near}"
        for place, prompt in enumerate(self.prompts):
            if "{}" not in prompt:
                yield ("prompts", place), f"{prompt!r:.60} has no place for an option; write {{}}"
        if len(set(self.controls)) < len(self.controls):
            yield ("controls",), "each control once"
        if self.runs > 1 and not self.generation.temperature:
            why = "at temperature 0 every run says the same; set `generation.temperature`"
            yield ("runs",), why
