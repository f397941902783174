"""Replies beside the questions that they are to: one each, no more and no fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from isthmus.core.contracts import Question, Reply
from isthmus.errors import DataError

SHOWN = 5
"""Ids that a message lists."""


def matched(questions: Sequence[Question], replies: Sequence[Reply], file: str) -> list[Reply]:
    """The replies in the order of the questions. Raises DataError for ids that are missing,
    unknown, or there twice."""
    asked = {question.key for question in questions}
    counts = Counter(reply.key for reply in replies)
    twice = [key for key, count in counts.items() if count > 1]
    unknown = [key for key in counts if key not in asked]
    missing = [question.key for question in questions if question.key not in counts]
    problems = [
        _listed("answered twice", twice, "keep one row of each"),
        _listed("unknown to the benchmark", unknown, "remove them, or name the right data"),
        _listed(f"missing, of {len(questions)}", missing, 'a row with text "" stands for none'),
    ]
    if any(problems):
        raise DataError("\n  ".join([f"{file}:", *filter(None, problems)]))
    by_key = {reply.key: reply for reply in replies}
    return [by_key[question.key] for question in questions]


def _listed(what: str, keys: Sequence[str], remedy: str) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} question ids {what}: {', '.join(map(shown, keys[:SHOWN]))}{more}; {remedy}"


def shown(name: object) -> str:
    """An id or a label as a message may have it: short, and unable to steer a terminal."""
    text = str(name)
    return f"{text:.60}" if text.isprintable() else f"{text!r:.60}"
