"""Benchmarks that a stage is to be measured by while it learns, typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from isthmus.core.contracts import Benchmark, Config, JudgedBenchmark, Place

PositiveInt = Annotated[int, Field(gt=0)]


class EvaluateConfig(Config):
    """Benchmarks that the model is asked while it learns."""

    benchmarks: dict[str, Benchmark.Config] = Field(min_length=1)
    """Name -> benchmark."""
    every: PositiveInt | None = None
    """Steps between two evaluations; the stage's end always has one."""
    max_questions: PositiveInt | None = 200
    """Ask at most so many questions of each benchmark, always the same ones; null asks all."""
    max_new_tokens: PositiveInt = 64
    """Tokens of an answer at most."""
    batch_size: PositiveInt = 8
    """Questions at once."""

    def check(self) -> Iterator[tuple[Place, str]]:
        for name, benchmark in self.benchmarks.items():
            if issubclass(benchmark.owner, JudgedBenchmark):
                why = "its answers need a judge; ask a checkpoint with `isthmus evaluate` instead"
                yield ("benchmarks", name), f"{benchmark.owner.name}: {why}"
