"""An evaluation, typed: which models are asked which benchmarks, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isthmus.core.contracts import Benchmark, Config, DataPath, Place
from isthmus.core.model.settings import Settings

PositiveInt = Annotated[int, Field(gt=0)]
Control = Literal["blank", "shuffled"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""What models and benchmarks are called: folders are named after them."""
FILES = (".html", ".json", ".jsonl", ".yaml")
"""Endings of the files beside those folders."""


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
        for place, prompt in enumerate(self.prompts):
            if "{}" not in prompt:
                yield ("prompts", place), f"{prompt!r:.60} has no place for an option; write {{}}"
        if len(set(self.controls)) < len(self.controls):
            yield ("controls",), "each control once"
        if self.runs > 1 and not self.generation.temperature:
            why = "at temperature 0 every run says the same; set `generation.temperature`"
            yield ("runs",), why
