"""Which questions are asked where not all are, and whose pictures a question gets as a control.

Both follow from the questions alone, so that everybody is asked the same, today and tomorrow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from isthmus.core.contracts import Question
from isthmus.core.data.swapping import deal


def chosen(questions: Sequence[Question], most: int | None) -> list[int]:
    """Places of at most so many questions, in order.

    They are drawn by their ids: the first ones may all be of one kind, every tenth may be, too,
    and those of a smaller number are among those of a larger one.
    """
    places = range(len(questions))
    if most is None or most >= len(questions):
        return list(places)
    return sorted(sorted(places, key=lambda place: _draw(questions[place]))[:most])


def others(questions: Sequence[Question]) -> list[int]:
    """Of each question, the one whose pictures it gets when they are shuffled: one with as many,
    and of another cluster wherever that is possible."""
    keys = [(cluster(question),) * len(question.images) for question in questions]
    return deal(keys, seed=0)


def cluster(question: Question) -> str:
    """What the question shares with others: its cluster, or else its images."""
    return question.cluster or "\n".join(question.images)


def _draw(question: Question) -> bytes:
    return hashlib.sha256(question.key.encode("utf-8", "surrogatepass")).digest()
