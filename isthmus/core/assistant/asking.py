"""Asking a list of questions, in batches, and going on where it was stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from isthmus.core.assistant.answers import AnswerFile
from isthmus.core.assistant.questions import Question
from isthmus.core.model.settings import Settings

Answered = list[tuple[Question, str]]
"""Questions of one batch with their answers."""


class Answerer(Protocol):
    """Who can be asked: an assistant, or a classifier."""

    def answers(
        self, questions: Sequence[Question], settings: Settings, batch_size: int = 8
    ) -> list[str]:
        """An answer to each."""
        ...

    def blinded(self) -> Answerer:
        """The same one, that sees grey in place of every picture."""
        ...


def ask(
    assistant: Answerer,
    questions: Sequence[Question],
    settings: Settings,
    batch_size: int = 8,
    done: Collection[str] = (),
) -> Iterator[Answered]:
    """The answers to all questions but those whose keys are `done`, batch by batch.

    Batches are cut the same whatever is done: how wide a batch is padded may move the last bits
    of a number, and so an answer, and one that was stopped would end otherwise than a whole one.
    """
    for first in range(0, len(questions), batch_size):
        batch = questions[first : first + batch_size]
        if all(question.key in done for question in batch):
            continue
        texts = assistant.answers(batch, settings, batch_size)
        yield [(q, t) for q, t in zip(batch, texts, strict=True) if q.key not in done]


def fill(
    answers: AnswerFile,
    assistant: Answerer,
    questions: Sequence[Question],
    settings: Settings,
    batch_size: int = 8,
) -> Iterator[int]:
    """Ask what the open file has no answer to, and add the answers as they come; yields how many
    were added. `questions` are those of the file, all or some."""
    still = {question.key for question in answers.open}
    done = {question.key for question in questions} - still
    for batch in ask(assistant, questions, settings, batch_size, done):
        for question, text in batch:
            answers.add(question, text)
        yield len(batch)
