"""Reference answers of a teacher who sees no picture: he is given captions and boxes and answers
as if he saw it, as GPT-4 did for LLaVA-Bench (arXiv:2304.08485)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.core.contracts import Benchmark, Id, Question, quoted
from isthmus.errors import DataError, InputError
from isthmus.evaluate.hearing import request
from isthmus.evaluate.judging import Jury, write_rows

TASK = (
    "Answer a question about a picture. You are told what is in it: sentences that describe it, "
    "and perhaps things with their place as [x1, y1, x2, y2], where 0, 0 is the upper left corner "
    "and 1, 1 the lower right one. Answer as somebody who looks at the picture, and mention "
    "neither the description nor the numbers. Say nothing that it does not bear out."
)


def teach(benchmark: Benchmark, jury: Jury, file: Path) -> list[Id]:
    """Write the teacher's answers to `file`, rows {question_id, prompt, text, category}; the ids
    of the questions to which there is none are returned, and have no row. Raises InputError, and
    what `ask` raises."""
    if len(jury.judges) != 1:
        raise InputError("reference answers are one teacher's; give one chat model")
    (teacher,), (name,) = jury.judges, jury.names
    questions = benchmark.questions()
    requests = [
        request(
            f"{benchmark.name}/{q.key}/reference", teacher, asked(q), jury.config.parameters, None
        )
        for q in questions
    ]
    said = jury.listener.hear(name, teacher, requests)
    model = jury.listener.returned.get(name, "") or name
    rows, missing = [], []
    for question, each in zip(questions, said, strict=True):
        if each.text is None or each.cut or not each.text.strip():
            missing.append(question.id)
            continue
        row = {"question_id": question.id, "prompt": question.prompt, "text": each.text.strip()}
        rows.append({**row, **_category(question.labels), "model_id": model})
    write_rows(file, rows)
    return missing


def asked(question: Question) -> str:
    """What the teacher is asked. Raises DataError where nothing is known of the picture."""
    if not question.context:
        raise DataError(
            f"nothing describes the picture of question {question.key:.60}; give --context, rows "
            "{image, captions, instances}"
        )
    told = f"What is in the picture:\n{quoted(question.context)}"
    return f"{TASK}\n\n{told}\n\nThe question:\n{question.prompt}"


def _category(labels: Sequence[str]) -> dict[str, str]:
    return {"category": labels[0]} if labels else {}
