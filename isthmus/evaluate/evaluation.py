"""An evaluation from its YAML to its scores: models x benchmarks -> answers -> numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from isthmus.core.assistant import assistant_of, classifier_of, is_blind
from isthmus.core.assistant.asking import Answerer
from isthmus.core.checkpoint import Checkpoint, load, named_at
from isthmus.core.config import dump
from isthmus.core.contracts import JudgedBenchmark, Question, Reply
from isthmus.core.lock import folder_lock
from isthmus.errors import InputError
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.exam import open_exams
from isthmus.evaluate.folder import (
    COMPARISONS,
    SCORES,
    SETTINGS,
    place_of,
    read_answers,
    review_file,
    write_json,
    write_text,
)
from isthmus.evaluate.results import Section, read_section
from isthmus.evaluate.shots import open_shots
from isthmus.evaluate.tasks import task_of


class Judge(Protocol):
    """Who judges the answers to a `JudgedBenchmark`."""

    def __call__(
        self,
        benchmark: JudgedBenchmark,
        questions: Sequence[Question],
        answers: Sequence[Reply],
        file: Path,
    ) -> None:
        """Write a review of every answer to `file`: rows {question_id, answer_id, content}, where
        `answer_id` is that of the answer's `fields`; without `content` where the judge failed.
        Reviews of these answers that are there already are kept."""
        ...


class Evaluation:
    """An evaluation that is open: every question and picture is there, and so is every model.

    Raises InputError, before a weight is loaded or a file written, for whatever is not.
    """

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        self.exams = open_exams(config.benchmarks, config.max_questions)
        shots = open_shots(config.shots)
        self.models = {name: _opened(name, folder) for name, folder in config.models.items()}
        self.notes = [
            f"skipped a checkpoint: {line}"
            for opened in self.models.values()
            for line in opened.skipped
        ]
        self.tasks = [
            task_of(config, model, opened, exam, variant, shots.get(exam.name))
            for model, opened in self.models.items()
            for exam in self.exams
            for variant in exam.variants(config, is_blind(opened))
        ]

    @property
    def open(self) -> int:
        """Questions that have no answer yet, each as often as it is to be asked."""
        return sum(len(task.file.open) for task in self.tasks)

    @property
    def total(self) -> int:
        """All questions, likewise."""
        return sum(len(task.questions) for task in self.tasks)

    def answer(self, device: str | None = None) -> Iterator[tuple[int, str]]:
        """Ask what is open; yields how many questions were answered, and in which task. What was
        answered is on disk, wherever this is left."""
        out = self.config.out
        _make(out)
        with folder_lock(out) as lock:
            lock.take()
            write_text(out / SETTINGS, dump(self.config))
            for model in self.models:
                yield from self._ask(model, device)

    def _ask(self, model: str, device: str | None) -> Iterator[tuple[int, str]]:
        """One model, which is let go of before the next one is loaded."""
        tasks = [task for task in self.tasks if task.model == model and task.is_due]
        if not tasks:
            return
        assistant = self._open(model, device)
        for task in tasks:
            for count in task.carry_out(assistant):
                yield count, task.title

    def _open(self, model: str, device: str | None) -> Answerer:
        """Whoever is in the checkpoint; a model that has no llm chooses among options."""
        opened = self.models[model]
        if opened.config.llm is None:
            return classifier_of(opened, device, self.config.prompts)
        return assistant_of(opened, device)

    def judge(self, judge: Judge) -> None:
        """Have the answers judged that say nothing by themselves."""
        for task in self.tasks:
            benchmark = task.exam.benchmark
            if isinstance(benchmark, JudgedBenchmark):
                file = task.file.path
                answers = read_answers(file, task.exam)
                reviews = review_file(file.parent, task.variant)
                judge(benchmark, task.exam.questions, answers, reviews)

    def results(self) -> list[Section]:
        """What it came to, benchmark by benchmark; scores and comparisons are written down."""
        sections = [read_section(exam, self.config) for exam in self.exams]
        write_scores(self.config.out, sections)
        return sections


def _opened(name: str, folder: Path) -> Checkpoint:
    with named_at(f"models.{name}"):
        return load(folder)


def write_scores(out: Path, sections: Sequence[Section]) -> None:
    """`scores.json` of every model on every benchmark, and `comparisons.json`."""
    for section in sections:
        frequent = section.frequent.score if section.frequent else None
        for entry in section.entries:
            file = place_of(out, entry.model, section.name) / SCORES
            if entry.scores:
                write_json(file, entry.to_json() | {"most_frequent": frequent})
            else:
                file.unlink(missing_ok=True)
    pairs = [
        {"benchmark": section.name, "first": pair.first, "second": pair.second}
        | asdict(pair.comparison)
        for section in sections
        for pair in section.pairs
    ]
    write_json(out / COMPARISONS, pairs)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: {out} cannot be made: {error.strerror}") from error
