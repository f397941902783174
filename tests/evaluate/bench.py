"""A little LLaVA-Bench whose judge is a server on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.core.chat import Journal
from isthmus.core.contracts import Benchmark
from isthmus.evaluate.judging import Jury, judge_file
from isthmus.evaluate.jury import JuryConfig, read_jury
from isthmus.evaluate.reviews import judged_by
from isthmus.evaluate.scoring import Run
from isthmus.plugins.benchmarks.llava_bench.benchmark import LlavaBench
from tests.evaluate.toys import write_lines
from tests.loopback import Answer, Asked, completion

CATEGORIES = ("conv", "detail", "complex")
ASK: dict[str, Any] = {"attempts": 2, "backoff": 0.001, "longest_backoff": 0.01}


def bench(folder: Path, count: int, answer: Callable[[int], str] = "Answer {}.".format) -> Path:
    """Write the files of a benchmark with so many questions; the folder."""
    numbers = range(count)
    write_lines(
        folder / "questions.jsonl",
        (
            {
                "question_id": n,
                "image": f"{n // 3}.jpg",
                "text": f"Question {n}?",
                "category": CATEGORIES[n % 3],
            }
            for n in numbers
        ),
    )
    write_lines(
        folder / "context.jsonl",
        ({"id": str(n), "image": f"{n}.jpg", "captions": ["A cat."]} for n in range(count)),
    )
    write_lines(
        folder / "reference.jsonl", ({"question_id": n, "text": f"Ideal {n}."} for n in numbers)
    )
    write_lines(
        folder / "answers.jsonl",
        ({"question_id": n, "text": answer(n), "answer_id": f"id-{n}"} for n in numbers),
    )
    return folder


def config(folder: Path, **fields: Any) -> LlavaBench.Config:
    return LlavaBench.Config(
        data=folder / "questions.jsonl",
        context=folder / "context.jsonl",
        reference=folder / "reference.jsonl",
        **fields,
    )


def jury_of(*urls: str, **settings: Any) -> JuryConfig:
    judges = [{"type": "openai", "model": f"judge-{n}", "base_url": u} for n, u in enumerate(urls)]
    return read_jury(json.dumps({"judges": judges, "ask": ASK, **settings}))


def judged(
    folder: Path, jury: JuryConfig, benchmark: Benchmark | None = None, offline: bool = False
) -> tuple[Run, dict[str, Any]]:
    """The run of the folder's answers, and who judged."""
    made: Any = benchmark or config(folder).build()
    with Journal(folder / "journal.sqlite", read_only=offline) as journal:
        run = judge_file(
            made, folder / "answers.jsonl", Jury(jury, journal), folder / "reviews.jsonl"
        )
    return run, judged_by(made, run)


def number(asked: Asked) -> int:
    """The question that a judge is asked about."""
    found = re.search(r"^> Question (\d+)\?$", asked.prompt, re.MULTILINE)
    assert found, asked.prompt
    return int(found[1])


def swapped(asked: Asked) -> bool:
    """Whether the model's answer stands first."""
    return "Assistant 2:\n> Ideal" in asked.prompt


def says(asked: Asked, text: str, model: str = "loopback-1", **choice: Any) -> Answer:
    """A reply in these words."""
    body = completion(asked, text) | {"model": model}
    body["choices"][0] |= choice
    return Answer(body=json.dumps(body).encode())
