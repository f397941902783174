"""What a model needs to be asked a benchmark's questions: words, and pictures that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.core.contracts import Benchmark, Question
from isthmus.core.data.images import picture_size
from isthmus.core.data.paths import inside
from isthmus.core.data.question_file import IMAGE
from isthmus.errors import DataError

SHOWN = 10
"""Problems that a message lists."""


def askable(
    benchmark: Benchmark, questions: Sequence[Question] | None = None
) -> list[tuple[Path, ...]]:
    """The files of each question's images, whose headers were read; of all questions, or these.

    Raises DataError that lists the questions that cannot be asked.
    """
    questions = benchmark.questions() if questions is None else questions
    if not questions:
        raise DataError(f"{benchmark.name}: there is no question in it")
    folder = benchmark.image_folder
    if folder is None and any(question.images for question in questions):
        raise DataError(f"{benchmark.name}: to be asked it needs `images`, their folder")
    root = (folder or Path()).resolve()
    files: list[tuple[Path, ...]] = []
    looked_at: set[Path] = set()
    problems: list[str] = []
    for question in questions:
        try:
            files.append(_files(question, root))
            for file in {*files[-1]} - looked_at:
                picture_size(file, f"question {question.id!r:.60}")
                looked_at.add(file)
        except DataError as error:
            problems.append(f"  {error}")
    if problems:
        more = [f"  and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        head = f"{benchmark.name}: {len(problems)} questions cannot be asked:"
        raise DataError("\n".join([head, *problems[:SHOWN], *more]))
    return files


def _files(question: Question, root: Path) -> tuple[Path, ...]:
    where = f"question {question.id!r:.60}"
    if not question.prompt.strip():
        raise DataError(f"{where}: it has no words to ask")
    try:
        question.prompt.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: its words cannot be written as UTF-8") from None
    places = question.prompt.count(IMAGE) if question.images else 0
    if places not in (0, len(question.images)):
        raise DataError(f"{where}: {places} times {IMAGE} for {len(question.images)} images")
    return tuple(inside(root, name, where) for name in question.images)
