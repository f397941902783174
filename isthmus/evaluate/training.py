"""Benchmarks that are asked of a model while it learns: the listener that `isthmus train` adds."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core.assistant import Assistant
from isthmus.core.assistant.asking import ask
from isthmus.core.contracts import Benchmark, EvaluateDue, Events, Reply
from isthmus.core.model.settings import Settings
from isthmus.evaluate.exam import Exam
from isthmus.evaluate.scoring import run_of
from isthmus.evaluate.sums import measures, total


class Evaluator(Events):
    """Answers `evaluate_due` with every measure of each benchmark, as `BENCHMARK/MEASURE`."""

    evaluates = True

    def __init__(self) -> None:
        self.exams: dict[int, Exam] = {}

    def evaluate_due(self, event: EvaluateDue) -> Mapping[str, float] | None:
        assistant = Assistant(event.model, event.template, event.blind)
        found: dict[str, float] = {}
        for name, benchmark in event.benchmarks.items():
            exam = self._exam(name, benchmark, event.max_questions)
            replies = self._replies(exam, assistant, event)
            if replies is None:
                return None
            outcomes = run_of(benchmark, exam.questions, replies).outcomes
            values = measures(benchmark, total(outcomes))
            found |= {f"{name}/{key}": value for key, value in values.items() if value is not None}
        return found

    def _replies(self, exam: Exam, assistant: Assistant, event: EvaluateDue) -> list[Reply] | None:
        """The model's answers; None when the run was asked to stop."""
        settings = Settings(max_new_tokens=event.max_new_tokens)
        replies = []
        for batch in ask(assistant, exam.asked(), settings, event.batch_size):
            replies += [Reply(question.id, text) for question, text in batch]
            if not event.go_on():
                return None
        return replies

    def _exam(self, name: str, benchmark: Benchmark, most: int | None) -> Exam:
        """Opened once a stage: its questions are the same every time."""
        if id(benchmark) not in self.exams:
            self.exams[id(benchmark)] = Exam(name, benchmark, most)
        return self.exams[id(benchmark)]
