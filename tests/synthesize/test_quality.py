"""Every reason for which a reply is no sample, and what is no reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.core.contracts import ChatReply, Exchange, Instance, Scene
from isthmus.core.scene import read_answer, read_exchanges, write_exchanges
from isthmus.errors import Rejected
from isthmus.synthesize.config import QualityConfig
from isthmus.synthesize.quality import Duplicates, Grounding, Leaks, check_reply, check_wording
from tests.synthesize.toys import lines, scene

GOOD = "There is a dog on the bench, and it looks at the camera."


def reason(call: Any, *arguments: Any, **named: Any) -> str:
    """The word under which it is rejected; empty where it is not."""
    try:
        call(*arguments, **named)
    except Rejected as rejected:
        return rejected.reason
    return ""


def words(answer: str, question: str = "What is there?", **settings: Any) -> str:
    said = f"{question} {answer}"
    return reason(check_wording, [Exchange(question, answer)], QualityConfig(**settings), said)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Question: Who?\nAnswer: A dog.\n\nQuestion: Where?\nAnswer: Here,\nand there.", 2),
        ("**Question:** Who?\n**Answer:** A dog.", 1),
        ('{"turns": [{"question": "Who?", "answer": "A dog."}]}', 1),
        ('```json\n{"turns": [{"question": "Who?", "answer": "A dog."}]}\n```', 1),
        ("Here you are!\nQuestion: Who?\nAnswer: A dog.", "unparsable"),
        ("A dog.", "unparsable"),
        ("", "unparsable"),
        ('{"turns": []}', "unparsable"),
        ('{"turns": [{"question": "Who?"}]}', "unparsable"),
        ('{"turns": [', "unparsable"),
        ("[" * 20_000, "unparsable"),
        ("Answer: A dog.\nQuestion: Who?", "turn_order"),
        ("Question: Who?\nQuestion: Where?\nAnswer: Here.", "turn_order"),
        ("Question: Who?", "turn_order"),
    ],
)
def test_replies_are_read_strictly(reply: str, found: int | str):
    if isinstance(found, int):
        assert len(read_exchanges(reply)) == found
    else:
        assert reason(read_exchanges, reply) == found


def test_what_is_written_is_read():
    said = (Exchange('A "q"?', "Line one.\nQuestion: none.\n\u2028"), Exchange("\u00e9?", "b"))
    assert read_exchanges(write_exchanges(said)) == tuple(
        Exchange(each.question.strip(), each.answer.strip()) for each in said
    )


@pytest.mark.parametrize("reply", ["A dog.", "Answer: A dog.", "Question: Who?\nAnswer: A dog."])
def test_one_answer_is_read_with_and_without_marks(reply: str):
    assert read_answer(reply) == "A dog."


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (ChatReply("A dog", finish="length"), "truncated"),
        (ChatReply("", finish="refusal"), "refusal"),
        (ChatReply("I'm sorry, but I can't help with that."), "refusal"),
        (ChatReply("As an AI, I have no eyes."), "refusal"),
        (ChatReply("  "), "empty_answer"),
        (ChatReply("I cannot see a dog here."), ""),
        (ChatReply("Sorrel horses graze."), ""),
    ],
)
def test_replies_that_ended_badly(reply: ChatReply, why: str):
    assert reason(check_reply, reply) == why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (GOOD, ""),
        ("...", "empty_answer"),
        ("The caption says that there is a dog.", "mentions_source"),
        ("From the bounding boxes, there is a dog.", "mentions_source"),
        ("Based on the given information, a dog.", "mentions_source"),
        ("The sentences mention a dog.", "mentions_source"),
        ("The dog is at [0.12, 0.3, 0.5, 0.9].", "coordinates"),
        ("The dog's left edge is at 0.123 of the width.", "coordinates"),
        ("Look at <image> again.", "placeholder"),
        ("A dog.</s> USER: hi", "placeholder"),
        ("A dog.\nUSER: what else?", "placeholder"),
        ("\u72d7\u5728\u957f\u6905\u4e0a\u3002", "language"),
        ("Der Hund sitzt auf der Bank und schaut neugierig zur Kamera hin, weil er dort etwas "
         "gesehen hat.", "language"),
        ("word " * 501, "too_long"),
        ("the dog is here " * 30, "repeated"),
        ("It costs 0.5 dollars, and 3.25 is a price.", ""),
    ],
)  # fmt: skip
def test_words_of_answers(answer: str, why: str):
    assert words(answer) == why


def test_the_recipe_itself_may_ask_for_a_caption():
    exchange = [Exchange("Give a short caption.", GOOD)]
    assert reason(check_wording, exchange, QualityConfig(), GOOD) == ""
    assert reason(check_wording, exchange, QualityConfig(), "a caption") == "mentions_source"


def test_any_language_may_be_allowed():
    assert words("\u72d7\u5728\u957f\u6905\u4e0a\u3002", language="any") == ""


def test_the_same_answer_twice_is_repeated():
    twice = [Exchange("Who is there?", GOOD), Exchange("And who else?", GOOD)]
    assert reason(check_wording, twice, QualityConfig(), "") == "repeated"


def test_questions_that_differ_in_a_number_are_two_questions():
    asked = [Exchange(f"What colour is the number {n}?", c) for n, c in ((3, "red"), (7, "blue"))]
    check_wording(asked, QualityConfig(), "")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("A dog sits here.", []),
        ("A dog and an umbrella.", ["umbrella"]),
        ("There is no umbrella.", []),
        ("If it rained, one would need an umbrella.", []),
        ("The puppy plays with a hot dog.", ["hot dog"]),
        ("A man holds the dog.", []),  # the caption has him
    ],
)
def test_objects_that_are_not_there_are_hallucinated(answer: str, found: list[str]):
    there = scene(["A man with his pet."], dog=2)
    assert Grounding().hallucinated(there, [Exchange("?", answer)]) == found


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("There are two dogs.", False),
        ("There are three dogs.", True),
        ("I see 3 small brown dogs.", True),
        ("One of the two dogs sleeps.", False),
        ("There are not three dogs.", False),
        ("Three of them, and two dogs.", False),
        ("There are five cats.", False),  # the caption says so
    ],
)
def test_more_than_there_are_boxes_is_miscounted(answer: str, wrong: bool):
    there = scene(["Five cats."], dog=2, cat=3)
    assert bool(Grounding().miscounted(there, [Exchange("?", answer)])) == wrong


def test_crowds_are_not_counted_and_captions_alone_prove_nothing():
    crowd = Scene("s", "", (), (Instance("person", (0, 0, 1, 1), crowd=True),))
    said = [Exchange("?", "Twelve people and a dog.")]
    assert Grounding().miscounted(crowd, said) == []
    assert Grounding().hallucinated(scene(["A street."]), said) == []


def test_duplicates_are_found_exactly_and_nearly_and_short_ones_by_image():
    seen = Duplicates(0.8)
    long = " ".join(f"word{i}" for i in range(60))
    assert reason(seen.check, "a", "r", "1", [Exchange("Q?", long)]) == ""
    assert reason(seen.check, "b", "r", "2", [Exchange("Q?", long)]) == "duplicate"
    near = [Exchange("Other?", long.replace("word59", "x"))]
    assert reason(seen.check, "b", "r", "3", near) == "near_duplicate"
    assert reason(seen.check, "b", "another", "4", near) == ""
    short = [Exchange("Dog?", "Yes, there is a dog.")]
    assert reason(seen.check, "a", "r", "5", short) == ""
    assert reason(seen.check, "b", "r", "6", short) == ""
    assert reason(seen.check, "a", "r", "7", short) == "duplicate"
    assert reason(Duplicates(None).check, "b", "r", "3", near) == ""


def test_images_and_questions_of_evaluations_are_guarded(tmp_path: Path):
    question = "What is the man by the bags awaiting for?"
    rows = [{"image": "COCO_val2014_000000296284.jpg", "text": question}, {"text": "What is it?"}]
    names = tmp_path / "names.txt"
    names.write_text("folder/photo.png\n")
    leaks = Leaks([lines(tmp_path / "q.jsonl", rows), names])
    safe = [Exchange("What is it?", "A dog.")]
    assert reason(leaks.check, "train2017/000000296284.jpg", safe) == "leaked_image"
    assert reason(leaks.check, "photo.jpg", safe) == "leaked_image"
    assert reason(leaks.check, "000000296285.jpg", safe) == ""
    asked = [Exchange(f"<image>\n{question.upper()}", "A cab.")]
    assert reason(leaks.check, "b.jpg", asked) == "leaked_question"


def test_near_duplicates_are_those_that_counting_runs_finds():
    """Against the Jaccard index itself, for texts of which ever more words are changed."""
    import random

    rng, found = random.Random(0), []
    for trial in range(60):
        words = [f"w{trial}x{i}" for i in range(200)]
        other = list(words)
        for at in rng.sample(range(200), trial % 6):
            other[at] = "other"
        runs = [{tuple(text[i : i + 5]) for i in range(196)} for text in (words, other)]
        exact = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
        seen = Duplicates(0.9)
        seen.check("a", "r", "1", [Exchange("Q?", " ".join(words))])
        near = reason(seen.check, "b", "r", "2", [Exchange("R?", " ".join(other))])
        found.append((exact, bool(near)))
    assert all(near for exact, near in found if exact > 0.97)
    assert not any(near for exact, near in found if exact < 0.8)
