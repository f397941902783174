"""POPE's rates by hand, and which answer belongs to which split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.core.contracts import Benchmark
from isthmus.errors import DataError
from isthmus.evaluate.scoring import Scores, open_runs, score
from isthmus.plugins.benchmarks.pope import Pope, pope_reads
from isthmus.testing import check_benchmark
from tests.evaluate.toys import write_lines

THINGS = ("dog", "cat", "car", "cup", "bed")
LABELS = ("yes", "no", "yes", "no", "yes")
FIRST = {"adversarial": 1, "random": 10_000_001, "popular": 20_000_001}
"""Where LLaVA's merged ids begin."""


def rows(split: str) -> list[dict[str, Any]]:
    things = THINGS if split == "random" else [f"{thing} {split}" for thing in THINGS]
    return [
        {"question_id": n, "image": f"{n // 3}.jpg", "text": f"Is there a {what}?", "label": label}
        for n, (what, label) in enumerate(zip(things, LABELS, strict=True), 1)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    merged = []
    for split, first in FIRST.items():
        write_lines(tmp_path / f"coco_pope_{split}.json", rows(split))
        for row in rows(split):
            text = f"{row['text']}\nOne word, please."
            id = first + row["question_id"] - 1
            merged.append({**row, "question_id": id, "text": text, "category": split})
    write_lines(tmp_path / "llava_pope_test.jsonl", merged)
    return tmp_path


def opened(data: Path, split: str) -> Benchmark:
    made: Benchmark = Pope.Config(data=data, split=split).build()  # type: ignore[arg-type]
    return made


def scored(data: Path, split: str, answers: list[dict[str, Any]]) -> Scores:
    benchmark = opened(data, split)
    return score(benchmark, open_runs(benchmark, [write_lines(data / "answers.jsonl", answers)]))


def answered(first: int, texts: list[str], split: str = "") -> list[dict[str, Any]]:
    asked = [row["text"] for row in rows(split)] if split else [""] * len(texts)
    return [
        {"question_id": first + n, "text": text, "prompt": prompt}
        for n, (text, prompt) in enumerate(zip(texts, asked, strict=True))
    ]


MIXED = ["Yes", "Yes, there is.", "No.", "no", "yes"]
"""Two hits, one false alarm, one miss, one right no."""


def test_rates_are_counted_by_hand(data: Path) -> None:
    found = scored(data, "random", answered(FIRST["random"], MIXED))
    assert found.by == {
        "random": pytest.approx(100 * 2 / 3),
        "F1": pytest.approx(100 * 2 / 3),
        "accuracy": 60,
        "precision": pytest.approx(100 * 2 / 3),
        "recall": pytest.approx(100 * 2 / 3),
        "yes-ratio": 60,
    }
    assert found.score == found.by["F1"]


def test_one_file_may_answer_all_splits(data: Path) -> None:
    everything = [
        *answered(FIRST["random"], MIXED),
        *answered(FIRST["popular"], [label.title() for label in LABELS]),
        *answered(FIRST["adversarial"], ["Yes"] * 5),
    ]
    one = {split: scored(data, split, everything).score for split in FIRST}
    assert one == {
        "random": pytest.approx(100 * 2 / 3),
        "popular": 100,
        "adversarial": pytest.approx(75),
    }
    whole = scored(data, "all", everything)
    assert whole.score == pytest.approx((100 * 2 / 3 + 100 + 75) / 3)
    assert {split: whole.by[split] for split in one} == one
    assert whole.n_total == 15


def test_a_splits_own_ids_are_understood_and_checked_by_what_was_asked(data: Path) -> None:
    for split in FIRST:
        assert scored(data, split, answered(1, MIXED, split)).by["accuracy"] == 60
    with pytest.raises(DataError, match="are these answers to another split"):
        scored(data, "random", answered(1, MIXED, "popular"))


def test_merged_ids_that_look_like_another_splits_own_are_told_by_what_was_asked(
    data: Path,
) -> None:
    """The merged ids of `adversarial` begin with 1, as every split's own do."""
    assert scored(data, "adversarial", answered(1, MIXED, "adversarial")).by["accuracy"] == 60
    with pytest.raises(DataError, match="are these answers to another split"):
        scored(data, "adversarial", answered(1, MIXED, "popular"))


def test_the_authors_form_has_no_ids_and_stands_in_the_questions_order(data: Path) -> None:
    for split in FIRST:
        asked = [row["text"] for row in rows(split)]
        pairs = zip(asked, MIXED, strict=True)
        answers = [{"question": words, "answer": text} for words, text in pairs]
        assert scored(data, split, answers).by["accuracy"] == 60
        with pytest.raises(DataError, match="1 question ids missing, of 5"):
            scored(data, split, answers[:-1])
        with pytest.raises(DataError, match="are these answers to another split"):
            scored(data, split, answers[::-1])
    with pytest.raises(DataError, match="line 1: it has none of the fields question_id"):
        scored(data, "random", [{"answer": "Yes"}] * 5)


def test_answers_may_stand_in_the_question_file(data: Path) -> None:
    asked = zip(rows("popular"), MIXED, strict=True)
    found = scored(data, "popular", [{**row, "answer": text} for row, text in asked])
    assert found.by["accuracy"] == 60


def test_without_the_merged_file_a_split_has_its_own_ids(data: Path) -> None:
    (data / "llava_pope_test.jsonl").unlink()
    assert scored(data, "popular", answered(1, MIXED)).by["accuracy"] == 60
    with pytest.raises(DataError, match="give --split, one of random, popular, adversarial"):
        opened(data, "all").questions()


def test_missing_and_unknown_answers_are_errors(data: Path) -> None:
    with pytest.raises(DataError, match="1 question ids missing, of 5: 10000005"):
        scored(data, "random", answered(FIRST["random"], MIXED)[:-1])
    with pytest.raises(DataError, match="5 question ids missing"):
        scored(data, "random", answered(FIRST["popular"], MIXED))
    with pytest.raises(DataError, match="unknown to the benchmark: 7"):
        scored(data, "random", [*answered(1, MIXED), {"question_id": 7, "text": "Yes"}])


def test_never_saying_yes_has_no_precision_and_no_f1(data: Path) -> None:
    found = scored(data, "random", answered(FIRST["random"], ["No"] * 5))
    assert (found.by["precision"], found.by["recall"], found.score) == (None, 0, 0)


def test_silence_is_wrong_whatever_was_right(data: Path) -> None:
    found = scored(data, "random", answered(FIRST["random"], ["", "...", "Yes", "No", "Yes"]))
    assert found.by["accuracy"] == 60
    assert found.by["yes-ratio"] == 40
    assert found.invalid == (10_000_001, 10_000_002)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Yes", "yes"),
        ("no", "no"),
        ("No, there is no dog.", "no"),
        ("There is not a dog", "no"),
        ("I see a dog.", "yes"),  # as the authors read it
        ("Yes. There is no cat.", "yes"),
        ("Nothing", "yes"),
        ("No\n\nThe image shows", "no"),
        ('"No!"', "no"),
        ("\u201cNo\u201d", "no"),
        ("**No**", "no"),
        ("", None),
    ],
)
def test_answers_are_read_as_the_authors_read_them(reply: str, said: str | None) -> None:
    assert pope_reads(reply) == said


def test_it_keeps_the_contract(data: Path) -> None:
    check_benchmark(Pope.Config(data=data, split="random"), ["Yes", "No, it is not."])
