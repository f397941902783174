"""Several evaluations as one: their models side by side on the benchmarks that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.core.config import load
from isthmus.errors import InputError
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.exam import Exam, open_exams
from isthmus.evaluate.folder import SETTINGS, place_of
from isthmus.evaluate.results import Entry, Section, make_section, read_entry


@dataclass
class Evaluations:
    """What the folders have; `notes` say what is not there yet."""

    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    title: str = ""


def read_evaluations(folders: Sequence[Path]) -> Evaluations:
    """Every benchmark of these folders, with the models of all of them that answered it.

    Raises InputError for a folder that is no evaluation's, or two benchmarks of one name whose
    questions differ.
    """
    read = Evaluations()
    exams: dict[str, Exam] = {}
    entries: dict[str, dict[str, Entry]] = {}
    given: set[Path] = set()
    for folder in folders:
        if folder.resolve() in given:
            raise InputError(f"{folder}: it was given twice")
        given.add(folder.resolve())
        config = _settings(folder)
        read.title = read.title or config.title
        for exam in open_exams(config.benchmarks, config.max_questions):
            first = exams.setdefault(exam.name, exam)
            if first.questions != exam.questions or first.benchmark.name != exam.benchmark.name:
                raise InputError(
                    f"{folder}: its benchmark {exam.name!r} has other questions than that of "
                    f"{folders[0]}; what differs needs another name"
                )
            for model in config.models:
                found = read_entry(exam, place_of(folder, model, exam.name), model, config)
                if found is None:
                    read.notes.append(f"{folder}: {model} has not answered {exam.name} to the end")
                    continue
                named = entries.setdefault(exam.name, {})
                name = model
                for more in (folder.name, str(folder)):
                    name = name if name not in named else f"{model} ({more})"
                named[name] = found.named(name)
    if not entries:
        raise InputError(f"{', '.join(map(str, folders))}: nothing is answered to the end yet")
    read.sections = [
        make_section(exam, list(entries.get(name, {}).values())) for name, exam in exams.items()
    ]
    return read


def _settings(folder: Path) -> EvaluationConfig:
    file = folder / SETTINGS
    if not file.is_file():
        raise InputError(
            f"{folder}: no evaluation's folder, since it has no {SETTINGS}; make one with "
            "`isthmus evaluate`"
        )
    return load(EvaluationConfig, file)
