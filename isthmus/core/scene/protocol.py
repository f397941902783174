"""How a teacher writes questions and answers, and how they are read: JSON, or marked lines.

    Question: What is on the bench?
    Answer: A dog.

Reading is strict. What stands outside of the marks, a question without its answer, or two in a
row is no slip to be mended by guessing; the reply is rejected with its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from isthmus.core.contracts import Exchange
from isthmus.errors import Rejected

FORMAT = (
    "Begin each question on a line of its own with `Question:` and each answer with `Answer:`. "
    "Write nothing before the first question and nothing after the last answer."
)
"""The text protocol, told to a teacher."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "turns": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
                "required": ["question", "answer"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["turns"],
    "additionalProperties": False,
}
"""The same as JSON, for teachers that keep to a schema."""

FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.S)
MARK = re.compile(r"^[ \t*#]*(Question|Answer)[ \t*]*:[ \t*]*", re.M | re.I)


def write_exchanges(exchanges: Sequence[Exchange]) -> str:
    """As JSON of SCHEMA."""
    turns = [{"question": each.question, "answer": each.answer} for each in exchanges]
    return json.dumps({"turns": turns}, ensure_ascii=False)


def read_exchanges(reply: str) -> tuple[Exchange, ...]:
    """The exchanges of a reply in either form. Raises Rejected: `unparsable` or `turn_order`."""
    text = _bare(reply)
    found = _from_json(text) if text.startswith("{") else _from_lines(text)
    if not found:
        raise Rejected("unparsable", f"no question and answer in it: {text!r:.80}")
    return tuple(found)


def read_answer(reply: str) -> str:
    """The one answer of a reply to a question that the teacher did not write itself; as plain
    text, or in either form with one exchange. Raises Rejected."""
    text = _bare(reply)
    if not text.startswith("{") and not MARK.search(text):
        return text
    if re.match(r"[ \t*#]*Answer", text, re.I) and len(MARK.findall(text)) == 1:
        return MARK.sub("", text, count=1).strip()
    found = read_exchanges(text)
    if len(found) != 1:
        raise Rejected("unparsable", f"one answer was asked for; found {len(found)}")
    return found[0].answer


def _bare(reply: str) -> str:
    text = reply.strip()
    fenced = FENCE.match(text)
    return fenced[1].strip() if fenced else text


def _from_json(text: str) -> list[Exchange]:
    try:
        turns = json.loads(text)["turns"]
        found = [Exchange(turn["question"].strip(), turn["answer"].strip()) for turn in turns]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Rejected("unparsable", f"not the JSON that was asked for: {text!r:.80}") from None
    return found


def _from_lines(text: str) -> list[Exchange]:
    marks = list(MARK.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise Rejected("unparsable", f"it does not begin with a question: {text!r:.80}")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    said = [
        (mark[1].lower(), text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]
    order = [who for who, _ in said]
    if order != ["question", "answer"] * (len(said) // 2):
        raise Rejected("turn_order", f"questions and answers do not alternate: {', '.join(order)}")
    words = [what for _, what in said]
    return [Exchange(q, a) for q, a in zip(words[::2], words[1::2], strict=True)]
