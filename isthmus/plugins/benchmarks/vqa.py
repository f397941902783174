"""`vqa`: short answers beside those of ten people: VQAv2 (arXiv:1612.00837) and TextVQA
(arXiv:1904.08920); or beside one: GQA (arXiv:1902.09506)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Id, Outcome, Place, Question, Reply
from isthmus.core.data.rows import one_file, read_json, read_object
from isthmus.errors import DataError

INSTRUCTION = "Answer with one word or a short phrase."

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(NUMBERS)}}
ARTICLES = {"a", "an", "the"}
MARKS = ';/[]"{}()=+\\_-><@`,?!'
THOUSANDS = re.compile(r"\d,\d")
FULL_STOP = re.compile(r"\.(?!\d)")

CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll ma'am
    might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't
    she'd've should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's
    there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't
    we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd
    who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all
    y'all'd've y'all'll you'd you'd've you'll you're you've
"""


class Vqa(Benchmark, name="vqa"):
    """Soft accuracy: right is what three of ten people said, in part what fewer said.

    Answers and people's words are compared after VQA's official normalisation. Where there is
    one right answer alone (GQA), it must be met, capitals and a final stop aside."""

    reply_fields = ("text", "answer", "prediction")

    class Config(Benchmark.Config):
        """Settings of `vqa`."""

        data: DataPath
        """The answers, as VQAv2 (`annotations`), TextVQA (`data`) or GQA (questions by id) has
        them, or rows {question_id, question, image, answers}: a file, or its folder."""
        questions_file: DataPath | None = None
        """VQAv2's questions, which its answers do not repeat; needed to ask a model."""
        images: DataPath | None = None
        """Folder of the images; needed to ask a model."""
        image_name: str = "{image}"
        """What the file of an image is called: of TextVQA and GQA `{image}.jpg`, of VQAv2
        `COCO_val2014_{image:0>12}.jpg`."""

        def check(self) -> Iterator[tuple[Place, str]]:
            try:
                self.image_name.format(image="1")
            except (AttributeError, IndexError, KeyError, ValueError):
                why = "write it with the image's id in braces, such as `{image}.jpg`"
                yield ("image_name",), f"{why}; found {self.image_name!r:.60}"

    config: Config

    @property
    def image_folder(self) -> Path | None:
        return self.config.images

    def questions(self) -> Sequence[Question]:
        patterns = ("*annotations*.json", "TextVQA*.json", "*questions*.json*", "*.jsonl")
        file = one_file(self.config.data, *patterns, what="answers to visual questions")
        asked: dict[Id, str] = {}
        if self.config.questions_file:
            rows = read_object(self.config.questions_file).get("questions", ())
            asked = {row["question_id"]: row["question"] for row in rows}
        try:
            found = _entries(read_json(file))
            return [_question(id, row, asked, self.config.image_name) for id, row in found]
        except (KeyError, TypeError, AttributeError) as error:
            form = "not as VQAv2, TextVQA or GQA have their answers"
            raise DataError(f"{file}: {form} ({error!r})") from None

    def select(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Under their questions' ids also those by the image and what was asked of it, as LLaVA
        has its answers to TextVQA."""
        questions = self.questions()
        if {question.key for question in questions} & {reply.key for reply in replies}:
            return replies
        by_image: dict[str, list[Question]] = {}
        for question in questions:
            by_image.setdefault(question.cluster, []).append(question)
        return [_named(reply, by_image.get(reply.key, [])) for reply in replies]

    def outcome(self, question: Question, reply: str) -> Outcome:
        given = question.references
        if len(given) == 1:
            said = reply.strip().rstrip(".").lower()
            return Outcome.of(said or None, right=said == given[0].lower())
        said = normalised(reply)
        return Outcome.of(said or None, right=soft_accuracy(said, list(map(normalised, given))))


def _named(reply: Reply, asked: list[Question]) -> Reply:
    """A reply under the id of the question whose words its prompt has, which then is no other's;
    of several that it has, the longest."""
    prompt = str(reply.fields.get("prompt", "")).lower()
    words = {question: question.prompt.partition("\n")[0].lower() for question in asked}
    found = [question for question in asked if words[question] and words[question] in prompt]
    if not found:
        return reply
    best = max(found, key=lambda question: len(words[question]))
    asked.remove(best)
    return replace(reply, id=best.id)


def soft_accuracy(said: str, given: Sequence[str]) -> float:
    """Mean over the people of min(1, others who said so / 3)."""
    agreeing = given.count(said)
    without_one = min(1.0, (agreeing - 1) / 3) if agreeing else 0.0
    return (agreeing * without_one + (len(given) - agreeing) * min(1.0, agreeing / 3)) / len(given)


@lru_cache(maxsize=100_000)
def normalised(answer: str) -> str:
    """Small letters, digits for number words, no articles and marks, apostrophes where they
    belong: what VQA's official evaluation compares."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    bare = text
    for mark in MARKS:
        at_edge = f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if at_edge or THOUSANDS.search(text) else " ")
    words = (DIGITS.get(word, word) for word in FULL_STOP.sub("", bare).lower().split())
    return " ".join(APOSTROPHES.get(word, word) for word in words if word not in ARTICLES)


def _without_one(word: str) -> Iterator[str]:
    for place, letter in enumerate(word):
        if letter == "'":
            yield word[:place] + word[place + 1 :]


APOSTROPHES = {wrong: word for word in CONTRACTED.split() for wrong in _without_one(word)}
"""A contraction that lacks one of its apostrophes -> the contraction."""


def _entries(found: Any) -> Iterator[tuple[Id, Mapping[str, Any]]]:
    """Ids and entries of any of the forms."""
    if isinstance(found, list):
        yield from ((row["question_id"], row) for row, _ in found)
    elif "annotations" in found or "data" in found:
        rows = found.get("annotations", found.get("data"))
        yield from ((row["question_id"], row) for row in rows)
    else:
        yield from found.items()


def _question(id: Id, row: Mapping[str, Any], asked: Mapping[Id, str], image_name: str) -> Question:
    given = row["answers"] if "answers" in row else [row["answer"]]
    words = asked.get(id, row.get("question", ""))
    image = str(row.get("image", row.get("image_id", row.get("imageId", ""))))
    kind = row.get("answer_type") or row.get("types", {}).get("structural")
    return Question(
        id=id,
        prompt=f"{words}\n{INSTRUCTION}" if words else "",
        images=(image_name.format(image=image),) if image else (),
        references=tuple(each if isinstance(each, str) else each["answer"] for each in given),
        labels=(kind,) if kind else (),
        cluster=image,
    )


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(Vqa)
