"""The folder of an evaluation whose models are not here: answers as `isthmus evaluate` leaves
them, written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isthmus.core.config import dump, load
from isthmus.evaluate.config import EvaluationConfig

Texts = Mapping[str | int, str]
"""Question id -> answer."""


def write_evaluation(
    out: Path,
    benchmarks: Mapping[str, Any],
    answers: Mapping[tuple[str, str, str], Texts],
    **settings: Any,
) -> EvaluationConfig:
    """`answers` are of (model, benchmark, suffix of the file such as `-blank`)."""
    models = {model: str(out / "models" / model) for model, _, _ in answers}
    values = {"models": models, "benchmarks": dict(benchmarks), "out": str(out), **settings}
    config = load(EvaluationConfig, values)
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.yaml").write_text(dump(config))
    for (model, benchmark, suffix), texts in answers.items():
        write_answers(out / model / benchmark / f"answers{suffix}.jsonl", model, texts)
    return config


def write_answers(file: Path, model: str, texts: Texts) -> None:
    """A file of answers."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: Iterable[dict[str, Any]] = (
        {
            "question_id": id,
            "text": text,
            "answer_id": f"{model}-{id}",
            "model_id": f"{model}/01-align-000001",
            "metadata": {"max_new_tokens": 16, "temperature": 0.0},
        }
        for id, text in texts.items()
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
