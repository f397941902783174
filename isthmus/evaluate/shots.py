"""Few-shot asking: examples with their answers, which stand before a question as earlier turns."""

from __future__ import annotations

import filecmp
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.core.assistant.questions import Question
from isthmus.core.contracts import Picture, Sample, Source
from isthmus.core.data.images import picture_size
from isthmus.errors import DataError
from isthmus.evaluate.config import ShotsConfig


class Shots:
    """The examples, open. Each question has its own, which follow from its id and the seed; one
    that shows the question's own picture, or without pictures asks the same words, is passed over.

    Raises DataError where there are too few.
    """

    def __init__(self, config: ShotsConfig) -> None:
        self.config = config
        self.source: Source = config.data.build()
        if self.source.streams:
            raise DataError("data: examples are drawn from anywhere in it; leave out `stream`")
        self._drawn: dict[str, tuple[Sample, ...]] = {}

    @property
    def metadata(self) -> dict[str, Any]:
        """What tells these examples from others, beside every answer."""
        data = hashlib.sha256(self.source.fingerprint.encode()).hexdigest()[:16]
        return {"count": self.config.count, "seed": self.config.seed, "data": data}

    def before(self, asked: Sequence[Question], own: Sequence[Question]) -> list[Question]:
        """The questions as they are `asked`, behind the examples of their `own` selves: a control
        exchanges the picture of the question, and no example."""
        return [
            replace(question, shots=self.of(itself))
            for question, itself in zip(asked, own, strict=True)
        ]

    def of(self, question: Question) -> tuple[Sample, ...]:
        """The examples of one question, whose pictures are there."""
        if question.key not in self._drawn:
            self._drawn[question.key] = tuple(self._draw(question))
        return self._drawn[question.key]

    def _draw(self, question: Question) -> Iterator[Sample]:
        places = list(range(len(self.source)))
        lots = random.Random(f"{self.config.seed} {question.key}")  # noqa: S311
        for still in range(self.config.count, 0, -1):
            sample = self._next(places, lots, question)
            if sample is None:
                raise DataError(
                    f"data: question {question.id!r:.60} needs {self.config.count} examples that "
                    f"are not the question itself, and {still} of them are not there; write a "
                    "smaller `count`"
                )
            yield sample

    def _next(self, places: list[int], lots: random.Random, question: Question) -> Sample | None:
        while places:
            at = lots.randrange(len(places))
            places[at], places[-1] = places[-1], places[at]
            sample = self.source[places.pop()]
            if not _shows(sample, question):
                for picture in sample.images:
                    if isinstance(picture, Path):
                        picture_size(picture, sample.origin)
                return sample
        return None


def _shows(sample: Sample, question: Question) -> bool:
    """Whether the example gives the question itself away."""
    if not question.images:
        return any(turn.text.strip() == question.text.strip() for turn in sample.turns)
    return any(_same(one, other) for one in sample.images for other in question.images)


def _same(one: Picture, other: Path) -> bool:
    """Whether it is one picture, under whatever names; of one that is open that is not known."""
    if isinstance(one, bytes):
        return len(one) == other.stat().st_size and one == other.read_bytes()
    return isinstance(one, Path) and one.is_file() and filecmp.cmp(one, other, shallow=False)


def open_shots(shots: Mapping[str, ShotsConfig]) -> dict[str, Shots]:
    """The examples of each benchmark that has any. Raises DataError, for all of them at once."""
    found, wrong = {}, []
    for name, config in shots.items():
        try:
            found[name] = Shots(config)
        except DataError as error:
            wrong.append(f"shots.{name}: {error}")
    if wrong:
        raise DataError("\n  ".join(wrong))
    return found
