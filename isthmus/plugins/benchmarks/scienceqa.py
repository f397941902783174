"""`scienceqa`: school science, 4,241 multiple-choice questions in its test split
(arXiv:2209.09513), nine columns as in its papers' tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Outcome, Question, Totals, percent
from isthmus.core.data.answer_reading import LETTERS, read_choice, read_letter
from isthmus.core.data.rows import one_file, read_object, read_rows, read_table
from isthmus.errors import DataError

SUBJECTS = {"natural science": "NAT", "social science": "SOC", "language science": "LAN"}
GRADES = range(1, 13)

OPTION = re.compile(r"^([A-E])\. ", re.MULTILINE)

INSTRUCTIONS = {
    "A": "Answer with the letter of the right choice and nothing else.",
    "ALE": 'Begin with "The answer is X.", X being the letter of the right choice. Then give the '
    "background and your reasons.",
    "LEA": "Give the background and your reasons first. Then end with "
    '"The answer is X.", X being the letter of the right choice.',
}
"""What is asked for, by the part of a prompt's name behind the dash."""


class ScienceQA(Benchmark, name="scienceqa"):
    """Multiple choice on school science, by subject, context and grade."""

    columns = ("NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12")

    class Config(Benchmark.Config):
        """Settings of `scienceqa`."""

        data: DataPath
        """Folder of `problems.json` and `pid_splits.json`; or of LLaVA's `llava_SPLIT_*.json`,
        with `id_grade_subject.csv` beside it for the columns by subject and grade."""
        split: str = "test"
        """Which questions: `test`, `val`, `minitest` and so on."""
        prompt: Literal["QCM-ALE", "QCM-LEA", "QCM-A", "CQM-A"] = "CQM-A"
        """Order of question, context and choices, and of what the answer gives: letter, lecture,
        explanation. `QCM` needs `problems.json`."""
        instruct: bool = True
        """End the prompt by saying how to answer; a model tuned on the format needs it not."""
        images: DataPath | None = None
        """Folder of the images; absent, `images/SPLIT` of the data folder."""

    config: Config

    @property
    def image_folder(self) -> Path:
        data = self.config.data
        folder = data.parent if data.is_file() else data
        return self.config.images or folder / "images" / self.config.split

    def questions(self) -> Sequence[Question]:
        if (self.config.data / "problems.json").exists():
            return list(self._official())
        return list(self._converted())

    def outcome(self, question: Question, reply: str) -> Outcome:
        letter = read_choice(reply, len(question.options))
        return Outcome.of(letter, right=letter in question.references)

    def measures(self, totals: Totals) -> dict[str, float]:
        return {"Avg": percent(totals["right"], totals["questions"])}

    def _official(self) -> Iterator[Question]:
        """The questions of the authors' own folder."""
        file, splits = self.config.data / "problems.json", self.config.data / "pid_splits.json"
        problems, ids = read_object(file), read_object(splits).get(self.config.split)
        if not isinstance(ids, list):
            known = ", ".join(read_object(splits))
            raise DataError(f"{splits}: no split {self.config.split!r}. Splits: {known}")
        for id in ids:
            origin = f"{file}, problem {id}"
            problem = problems.get(id)
            try:
                yield self._problem(id, problem)
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise DataError(f"{origin}: not as ScienceQA has them ({error!r})") from None

    def _problem(self, id: str, problem: Any) -> Question:
        options = tuple(problem["choices"])
        context, image = problem["hint"].strip(), problem["image"]
        grade = int(problem["grade"].removeprefix("grade"))
        if self.config.prompt.startswith("QCM"):
            listed = " ".join(f"({x}) {o}" for x, o in zip(LETTERS, options, strict=False))
            prompt = f"Question: {problem['question']}\nContext: {context or 'N/A'}\nOptions: "
            prompt += listed
        else:
            listed = "\n".join(f"{x}. {o}" for x, o in zip(LETTERS, options, strict=False))
            first = f"Context: {context}\n" if context else ""
            prompt = f"{first}{problem['question']}\n{listed}"
        return Question(
            id=id,
            prompt=self._instructed(prompt),
            images=(f"{id}/{image}",) if image else (),
            references=(LETTERS[problem["answer"]],),
            options=options,
            labels=_labels(bool(context), bool(image), problem["subject"], grade),
        )

    def _converted(self) -> Iterator[Question]:
        """The questions of LLaVA's file, whose prompts begin with their context, if any."""
        if self.config.prompt != "CQM-A":
            raise DataError(
                f"{self.config.data}: a prompt {self.config.prompt} needs problems.json; LLaVA's "
                "file has the prompts of CQM-A"
            )
        split = self.config.split
        patterns = (f"llava_{split}_*-A.json", f"llava_{split}_*.json")
        what = f"ScienceQA's {split} questions, or problems.json"
        file = one_file(self.config.data, *patterns, what=what)
        table = file.parent / "id_grade_subject.csv"
        meta: Mapping[str, Mapping[str, str]] = {}
        if table.exists():
            rows = read_table(table, ("question_id", "grade", "subject"))
            meta = {row["question_id"]: row for row in rows}
        for record, origin in read_rows(file):
            try:
                yield self._conversation(record, meta.get(str(record["id"]), {}))
            except (KeyError, TypeError, IndexError, ValueError) as error:
                raise DataError(f"{origin}: not as LLaVA converts them ({error!r})") from None

    def _conversation(self, record: Any, meta: Mapping[str, str]) -> Question:
        asked, told = (turn["value"] for turn in record["conversations"][:2])
        prompt = asked.replace("<image>", "").strip()
        image = record.get("image")
        letter = read_letter(told)
        if letter is None:
            raise ValueError(f"no letter in the answer {told!r:.60}")
        return Question(
            id=record["id"],
            prompt=self._instructed(prompt),
            images=(image,) if image else (),
            references=(letter,),
            options=_options(prompt),
            labels=_labels(
                prompt.startswith("Context: "),
                bool(image),
                meta.get("subject", ""),
                int(meta.get("grade", 0)),
            ),
        )

    def _instructed(self, prompt: str) -> str:
        if not self.config.instruct:
            return prompt
        return f"{prompt}\n{INSTRUCTIONS[self.config.prompt.partition('-')[2]]}"


def _options(prompt: str) -> tuple[str, ...]:
    """The lettered lines at a prompt's end, from the last `A.` on."""
    found = list(OPTION.finditer(prompt))
    last = max(number for number, match in enumerate(found) if match[1] == "A")
    ends = [match.start() for match in found[last + 1 :]] + [len(prompt)]
    return tuple(prompt[m.end() : end].strip() for m, end in zip(found[last:], ends, strict=True))


def _labels(text: bool, image: bool, subject: str, grade: int) -> tuple[str, ...]:
    labels = [SUBJECTS.get(subject, "")]
    labels += ["TXT"] * text + ["IMG"] * image + ["NO"] * (not text and not image)
    if grade in GRADES:
        labels.append("G1-6" if grade <= 6 else "G7-12")
    return tuple(filter(None, labels))


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(ScienceQA)
