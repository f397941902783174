"""Pictures of one colour each, and models that are asked about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from isthmus.core.config import load
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.evaluation import Evaluation
from tests.tiny_run import MODEL

COLOURS = ("red", "blue", "white", "black")
LENGTH = 6
"""Tokens of an answer at most."""
LOOKS = MODEL | {"connector": {"type": "linear"}}
"""Of tiny models that nothing was taught, these look at pictures most."""


def paint(folder: Path) -> None:
    """A picture of each colour, all of different widths."""
    for at, colour in enumerate(COLOURS):
        Image.new("RGB", (9 + at, 9), colour).save(folder / f"{colour}.png")


def config(
    home: Path, data: Path, *names: str, benchmark: str = "exact_match", **settings: Any
) -> EvaluationConfig:
    """The models of these names, asked what this file has, into `out` beside it."""
    values = {
        "models": {name: str(home / name) for name in names or ("one",)},
        "benchmarks": {"colours": {"type": benchmark, "data": str(data)}},
        "out": str(data.parent / "out"),
        "batch_size": 4,
        "generation": {"max_new_tokens": LENGTH},
    }
    return load(EvaluationConfig, values | settings)


def carry_out(settings: EvaluationConfig) -> Evaluation:
    """An evaluation in which everything is answered."""
    evaluation = Evaluation(settings)
    assert sum(count for count, _ in evaluation.answer("cpu")) <= evaluation.total
    return evaluation


def texts(settings: EvaluationConfig, file: str, model: str = "one") -> dict[Any, str]:
    """Question id -> what the model answered, by this file."""
    lines = (settings.out / model / "colours" / file).read_text().splitlines()
    return {row["question_id"]: row["text"] for row in map(json.loads, lines)}
