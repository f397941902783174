"""`pope`: is there such an object in the picture? (arXiv:2305.10355)

Objects that are not there are drawn at random, among the most frequent ones, or among those
that mostly come with what is there; each way is a split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from isthmus import hookimpl
from isthmus.core.contracts import (
    Benchmark,
    DataPath,
    Id,
    Outcome,
    Question,
    Reply,
    Totals,
    percent,
)
from isthmus.core.data.rows import one_file, read_rows
from isthmus.errors import DataError

SPLITS = ("random", "popular", "adversarial")
NEGATIONS = {"no", "not"}
EDGES = re.compile(r"^[\W_]+|[\W_]+$")
INSTRUCTION = "Answer yes or no, in one word."


class Pope(Benchmark, name="pope"):
    """Objects that a model makes up: F1 of "yes", accuracy, precision, recall, yes-ratio."""

    columns = SPLITS
    reply_fields = ("answer", "text")
    numbered = True

    class Config(Benchmark.Config):
        """Settings of `pope`."""

        data: DataPath
        """Folder of `coco_pope_SPLIT.json`; LLaVA's merged `llava_pope_test.jsonl` beside them
        says which of its ids belongs to which split."""
        split: Literal["random", "popular", "adversarial", "all"] = "all"
        """One split, or all three: every measure is then the mean of theirs."""
        images: DataPath | None = None
        """Folder of the images; absent, `images` in the data folder."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.splits = SPLITS if config.split == "all" else (config.split,)

    @property
    def image_folder(self) -> Path:
        return self.config.images or self.config.data / "images"

    def questions(self) -> Sequence[Question]:
        if self.config.split == "all" and not self.merged:
            raise DataError(
                f"{self.config.data}: there is no llava_pope_test.jsonl, and the ids of each "
                f"split begin with 1; give --split, one of {', '.join(SPLITS)}"
            )
        return [question for split in self.splits for question in self._split(split)]

    def outcome(self, question: Question, reply: str) -> Outcome:
        (split,), (label,) = question.labels, question.references
        said = pope_reads(reply)
        right = said == label
        # An answer that says nothing is wrong, whatever the label.
        found = {
            "n": 1.0,
            "right": right,
            "tp": right and label == "yes",
            "fp": not right and label == "no",
            "fn": not right and label == "yes",
            "yes": said == "yes",
        }
        counts = {f"{split}.{name}": float(n) for name, n in found.items()}
        return Outcome({"right": float(right), **counts}, said)

    def measures(self, totals: Totals) -> dict[str, float]:
        splits = [split for split in SPLITS if f"{split}.n" in totals]
        each = [_rates(*(totals[f"{split}.{name}"] for name in COUNTS)) for split in splits]
        return {name: sum(rates[name] for rates in each) / len(each) for name in each[0]}

    def select(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Those to these splits, by the ids of LLaVA's merged file; or by the split's own ids,
        which begin with 1 in each, where the file has none of the merged ones. Where a reply has
        the words that it answers, they must be the question's."""
        wanted = {question.key: question for question in self.questions()}
        if any(reply.key in wanted for reply in replies):
            others = {str(id) for id in self.merged.values()} - wanted.keys()
            replies = [reply for reply in replies if reply.key not in others]
        else:
            wanted = dict(zip(self._numbers(), wanted.values(), strict=True))
        return [_named(reply, wanted.get(reply.key)) for reply in replies]

    @cached_property
    def merged(self) -> dict[tuple[str, str, str], Id]:
        """Split, image and words of a question -> its merged id; empty where there is no file."""
        file = self.config.data / "llava_pope_test.jsonl"
        rows = read_rows(file) if file.exists() else []
        return {_asked(row, row.get("category")): row.get("question_id", "") for row, _ in rows}

    def _split(self, split: str) -> Iterator[Question]:
        for row, origin in self._rows(split):
            label, asked = row.get("label"), _asked(row, split)
            if label not in ("yes", "no") or not asked[2]:
                raise DataError(f"{origin}: a row has `image`, `text`, and `label` yes or no")
            id = self.merged.get(asked) if self.merged else row.get("question_id")
            if id is None:
                raise DataError(f"{origin}: {asked[2]!r} is not in llava_pope_test.jsonl")
            yield Question(
                id=id,
                prompt=f"{asked[2]}\n{INSTRUCTION}",
                images=(asked[1],),
                references=(label,),
                labels=(split,),
                cluster=asked[1],
            )

    def _rows(self, split: str) -> list[tuple[dict[str, Any], str]]:
        patterns = (f"*pope*_{split}.json", f"*/*pope*_{split}.json")
        return read_rows(one_file(self.config.data, *patterns, what=f"POPE's {split} questions"))

    def _numbers(self) -> list[str]:
        return [str(row.get("question_id")) for row, _ in self._rows(self.splits[0])]


COUNTS = ("n", "right", "tp", "fp", "fn", "yes")


def _rates(n: float, right: float, tp: float, fp: float, fn: float, yes: float) -> dict[str, float]:
    return {
        "F1": percent(2 * tp, 2 * tp + fp + fn),
        "accuracy": percent(right, n),
        "precision": percent(tp, tp + fp),
        "recall": percent(tp, tp + fn),
        "yes-ratio": percent(yes, n),
    }


def _named(reply: Reply, question: Question | None) -> Reply:
    """A reply under the id that its question has here."""
    if question is None:
        return reply
    asked = str(reply.fields.get("prompt", reply.fields.get("question", "")))
    words = question.prompt.partition("\n")[0]
    if asked and words.lower() not in asked.lower():
        raise DataError(
            f"{reply.origin}: it answers {asked!r:.60}, but question {reply.id} of "
            f"{question.labels[0]} is {words!r}; are these answers to another split?"
        )
    return replace(reply, id=question.id)


def _asked(row: dict[str, Any], split: Any) -> tuple[str, str, str]:
    """What makes a question: its split, image, and words without the instruction below them."""
    words = str(row.get("text", "")).partition("\n")[0]
    return str(split), str(row.get("image", "")), words


def pope_reads(reply: str) -> str | None:
    """As POPE's authors read an answer: no, if its first sentence has the word no or not, else
    yes. One without any word says neither."""
    words = reply.partition(".")[0].replace(",", "").lower().split()
    said = {EDGES.sub("", word) for word in words} - {""}
    if not said:
        return None
    return "no" if said & NEGATIONS else "yes"


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(Pope)
