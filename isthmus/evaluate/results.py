"""What an evaluation came to: read from its folder, scored, and set side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from isthmus.core.contracts import JudgedBenchmark, Outcome, Reply
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.exam import Exam, Variant
from isthmus.evaluate.folder import answer_file, place_of, read_answers, read_reviews, review_file
from isthmus.evaluate.frequent import most_frequent
from isthmus.evaluate.intervals import Comparison, compare
from isthmus.evaluate.reviews import judged_by
from isthmus.evaluate.scoring import Run, Scores, run_of, score
from isthmus.evaluate.sums import QUESTIONS, clusters_of, headline, total


@dataclass(frozen=True)
class Round:
    """One set of answers. `run` says what each is worth; its replies are a judge's where one
    judges, and there is none until he has."""

    variant: Variant
    answers: tuple[Reply, ...]
    run: Run | None


@dataclass(frozen=True)
class Looked:
    """A control: its scores, and `gain`, how much better the model does with the right pictures."""

    round: Round
    scores: Scores | None
    gain: Comparison | None


@dataclass(frozen=True)
class Entry:
    """A model on a benchmark. `scores` are None until a judge has judged."""

    model: str
    rounds: tuple[Round, ...]
    scores: Scores | None
    controls: dict[str, Looked] = field(default_factory=dict)

    @property
    def answered_by(self) -> str:
        """Run and checkpoint."""
        return str(self.rounds[0].answers[0].fields.get("model_id", ""))

    @property
    def settings(self) -> dict[str, Any]:
        """How the answers were generated."""
        return dict(self.rounds[0].answers[0].fields.get("metadata", {}))

    @property
    def outcomes(self) -> list[Outcome]:
        """What each answer is worth; over several runs, on average."""
        return averaged([each.run for each in self.rounds if each.run])

    def named(self, model: str) -> Entry:
        """The same under another name."""
        return replace(self, model=model)

    def to_json(self) -> dict[str, Any]:
        """As plain values: those of `isthmus score`, and the controls'."""
        controls = {
            name: {**looked.scores.to_json(), "gain": asdict(looked.gain) if looked.gain else None}
            for name, looked in self.controls.items()
            if looked.scores
        }
        return {
            "model": self.model,
            "answered_by": self.answered_by,
            "settings": self.settings,
            **(self.scores.to_json() if self.scores else {}),
            "controls": controls,
        }


@dataclass(frozen=True)
class Pair:
    """Two models on one benchmark: the second's score less the first's."""

    first: str
    second: str
    comparison: Comparison


@dataclass(frozen=True)
class Section:
    """One benchmark with every model that was asked it."""

    exam: Exam
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    frequent: Scores | None
    """Of always giving the most frequent answer."""

    @property
    def name(self) -> str:
        return self.exam.name


def read_section(exam: Exam, config: EvaluationConfig) -> Section:
    """A benchmark with all models of the evaluation that have answered it. Raises DataError."""
    places = {model: place_of(config.out, model, exam.name) for model in config.models}
    found = (read_entry(exam, place, model, config) for model, place in places.items())
    return make_section(exam, [entry for entry in found if entry])


def make_section(exam: Exam, entries: Sequence[Entry]) -> Section:
    """With every two models compared."""
    first = headline(exam.benchmark)
    clusters = clusters_of(exam.questions)
    known = [entry for entry in entries if entry.scores]
    pairs = [
        Pair(one.model, other.model, found)
        for one, other in combinations(known, 2)
        if (found := compare(first, one.outcomes, other.outcomes, clusters))
    ]
    frequent = most_frequent(exam.benchmark, exam.questions)
    scores = score(exam.benchmark, [frequent]) if frequent else None
    return Section(exam, tuple(entries), tuple(pairs), scores)


def read_entry(exam: Exam, place: Path, model: str, config: EvaluationConfig) -> Entry | None:
    """What a model has answered; None where it has not, or not to the end. Raises DataError."""
    variants = exam.variants(config, blind=False)
    found = {each: read for each in variants if (read := _read_round(exam, place, each))}
    rounds = [each for variant, each in found.items() if not variant.control]
    if len(rounds) < config.runs:
        return None
    judged = [each.run for each in rounds if each.run]
    return Entry(
        model=model,
        rounds=tuple(rounds),
        scores=_scores(exam, judged) if len(judged) == len(rounds) else None,
        controls={
            variant.title: _looked(exam, each, averaged(judged))
            for variant, each in found.items()
            if variant.control
        },
    )


def averaged(runs: Sequence[Run]) -> list[Outcome]:
    """The outcomes of several runs as one: counts on average, missing where one is."""
    found = []
    for outcomes in zip(*(run.outcomes for run in runs), strict=True):
        if len(outcomes) == 1:
            found.append(outcomes[0])
        elif any(outcome.is_missing for outcome in outcomes):
            found.append(Outcome.missing())
        else:
            counts = total(outcomes)
            del counts[QUESTIONS]
            mean = {name: count / len(outcomes) for name, count in counts.items()}
            found.append(Outcome(mean, outcomes[0].read))
    return found


def _read_round(exam: Exam, place: Path, variant: Variant) -> Round | None:
    file = answer_file(place, variant)
    if not file.exists():
        return None
    answers = read_answers(file, exam)
    replies: Sequence[Reply] | None = answers
    if exam.judged:
        reviews = review_file(place, variant)
        replies = read_reviews(reviews, exam, answers) if reviews.exists() else None
    run = run_of(exam.benchmark, exam.questions, replies, str(file)) if replies else None
    return Round(variant, tuple(answers), run)


def _scores(exam: Exam, runs: Sequence[Run]) -> Scores:
    """The scores, with who judged the first run."""
    found, benchmark = score(exam.benchmark, runs), exam.benchmark
    if not isinstance(benchmark, JudgedBenchmark):
        return found
    return replace(found, more=judged_by(benchmark, runs[0]))


def _looked(exam: Exam, control: Round, outcomes: Sequence[Outcome]) -> Looked:
    if control.run is None:
        return Looked(control, None, None)
    gain = None
    if outcomes:
        clusters = clusters_of(exam.questions)
        gain = compare(headline(exam.benchmark), control.run.outcomes, outcomes, clusters)
    return Looked(control, score(exam.benchmark, [control.run]), gain)
