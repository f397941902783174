"""One file of answers of an evaluation: who is asked, what, and how it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from isthmus.core.assistant import name_of
from isthmus.core.assistant.answers import AnswerFile
from isthmus.core.assistant.asking import Answerer, fill
from isthmus.core.assistant.questions import Question
from isthmus.core.checkpoint import Checkpoint
from isthmus.core.model.settings import Settings
from isthmus.errors import DataError
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.exam import Exam, Variant
from isthmus.evaluate.folder import answer_file, place_of, read_answers
from isthmus.evaluate.shots import Shots


@dataclass(frozen=True)
class Task:
    """A round of asking one model the questions of one benchmark."""

    model: str
    exam: Exam
    variant: Variant
    questions: list[Question]
    file: AnswerFile
    settings: Settings
    batch_size: int

    @property
    def title(self) -> str:
        """`sighted, pope, blank`"""
        return ", ".join(filter(None, (self.model, self.exam.name, self.variant.title)))

    @property
    def is_due(self) -> bool:
        """Whether something is left to do."""
        return bool(self.file.open) or not self.file.path.exists()

    def carry_out(self, assistant: Answerer) -> Iterator[int]:
        """Ask what is open; yields how many questions were answered. A question without pictures
        is the same one in a control, and is not asked again."""
        shown = [question for question in self.questions if question.images]
        with self.file as file:
            if self.variant.control:
                yield self._copy(file)
            seer = assistant.blinded() if self.variant.control == "blank" else assistant
            asked = shown if self.variant.control else self.questions
            yield from fill(file, seer, asked, self.settings, self.batch_size)

    def _copy(self, file: AnswerFile) -> int:
        first = answer_file(file.path.parent, Variant())
        known = {answer.key: answer.text for answer in read_answers(first, self.exam)}
        copied = [question for question in file.open if not question.images]
        for question in copied:
            file.add(question, known[str(question.id)])
        return len(copied)


def task_of(
    config: EvaluationConfig,
    model: str,
    opened: Checkpoint,
    exam: Exam,
    variant: Variant,
    shots: Shots | None = None,
) -> Task:
    """The task, with what is answered already. Raises DataError where that were other questions,
    another model, or other settings."""
    seed = config.generation.seed + variant.run - 1
    settings = config.generation.model_copy(update={"seed": seed})
    chooses = opened.config.llm is None
    used = {"prompts": list(config.prompts)} if chooses else settings.in_use()
    metadata: dict[str, Any] = {**used, "checkpoint": _fingerprint(opened)}
    if variant.control:
        metadata["control"] = variant.control
    questions = exam.asked(variant.control)
    if shots:
        metadata["shots"] = shots.metadata
        questions = _behind(shots, questions, exam)
    lost = next((q for q in questions if chooses and not (q.options and len(q.images) == 1)), None)
    if lost is not None:
        raise DataError(
            f"models.{model}: it has no llm, and chooses the option that is nearest to a picture; "
            f"question {lost.id!r:.60} of benchmarks.{exam.name} has {len(lost.options)} options "
            f"and {len(lost.images)} pictures. Give it `options` and one picture, or take a model "
            "with an llm"
        )
    place = place_of(config.out, model, exam.name)
    file = AnswerFile(answer_file(place, variant), questions, name_of(opened.folder), metadata)
    return Task(model, exam, variant, questions, file, settings, config.batch_size)


def _behind(shots: Shots, questions: list[Question], exam: Exam) -> list[Question]:
    try:
        return shots.before(questions, exam.asked())
    except DataError as error:
        raise DataError(f"shots.{exam.name}: {error}") from error


def _fingerprint(opened: Checkpoint) -> str:
    """What tells a checkpoint from another of its name: a run may have been made anew."""
    return hashlib.sha256(opened.manifest.to_json().encode()).hexdigest()[:16]
