"""Soft accuracy and the official normalisation, by hand and by brute force."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.contracts import Benchmark
from isthmus.errors import DataError, PartError
from isthmus.evaluate.scoring import Scores, open_runs, score
from isthmus.plugins.benchmarks.vqa import Vqa, normalised, soft_accuracy
from isthmus.testing import check_benchmark
from tests.evaluate.toys import write_lines


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The Cat", "cat"),
        ("two  dogs", "2 dogs"),
        ("None", "0"),
        ("dont know", "don't know"),
        ("don't know", "don't know"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("yes.", "yes"),
        ("1.5 m.", "1.5 m"),
        ("t-shirt", "t shirt"),
        ("black and-white", "black and white"),
        ("well - done", "well done"),
        ("1,000", "1000"),
        ("yes, sir", "yes sir"),
        ("red/blue", "red blue"),
        ("what?", "what"),
        ("a/b 1,2", "b 12".replace("b", "ab")),  # one number with a comma, and no mark is a space
        (" on\nthe\ttable ", "on table"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_officially(answer: str, plain: str) -> None:
    assert normalised(answer) == plain


def test_soft_accuracy_is_the_mean_over_ten_without_one() -> None:
    draw = random.Random(0)
    for _ in range(200):
        given = [draw.choice("abcd") for _person in range(10)]
        leave_one_out = [
            min(1.0, sum(other == "a" for at, other in enumerate(given) if at != left) / 3)
            for left in range(10)
        ]
        assert soft_accuracy("a", given) == pytest.approx(sum(leave_one_out) / 10)
    assert [soft_accuracy("a", ["a"] * n + ["b"] * (10 - n)) for n in range(5)] == pytest.approx(
        [0, 0.3, 0.6, 0.9, 1]
    )


def scored(data: Path, answers: list[dict[str, Any]], **fields: Any) -> Scores:
    benchmark: Benchmark = Vqa.Config(data=data, **fields).build()
    file = write_lines(data.parent / "answers.jsonl", answers)
    return score(benchmark, open_runs(benchmark, [file]))


def people(answer: str, times: int, other: str = "x") -> list[dict[str, Any]]:
    return [{"answer": answer}] * times + [{"answer": other}] * (10 - times)


@pytest.fixture
def vqav2(tmp_path: Path) -> Path:
    rows = [
        {"question_id": 10, "image_id": 1, "answer_type": "yes/no", "answers": people("yes", 10)},
        {"question_id": 11, "image_id": 1, "answer_type": "number", "answers": people("2", 2)},
        {"question_id": 12, "image_id": 2, "answer_type": "other", "answers": people("t-shirt", 3)},
    ]
    file = tmp_path / "v2_mscoco_val2014_annotations.json"
    file.write_text(json.dumps({"annotations": rows}))
    return file


def test_vqav2_is_scored_by_kind_of_answer(vqav2: Path) -> None:
    answers = [
        {"question_id": 10, "answer": "Yes."},
        {"question_id": 11, "answer": "two"},
        {"question_id": 12, "answer": "T shirt"},
    ]
    found = scored(vqav2, answers)
    assert found.by == {
        "yes/no": 100,
        "number": pytest.approx(60),
        "other": pytest.approx(90),
        "accuracy": pytest.approx(250 / 3),
    }
    assert found.score == found.by["accuracy"]


def test_vqav2s_questions_are_in_a_file_of_their_own(vqav2: Path, tmp_path: Path) -> None:
    file = tmp_path / "asked.json"
    file.write_text(json.dumps({"questions": [{"question_id": 10, "question": "Is it?"}]}))
    questions = Vqa.Config(data=vqav2, questions_file=file).build().questions()
    assert questions[0].prompt.startswith("Is it?\n")
    assert questions[0].cluster == questions[1].cluster != questions[2].cluster


def test_textvqa_has_its_answers_beside_the_question(tmp_path: Path) -> None:
    row = {"question_id": 5, "image_id": "a", "question": "Brand?", "answers": ["nokia"] * 10}
    file = tmp_path / "TextVQA_0.5.1_val.json"
    file.write_text(json.dumps({"data": [row]}))
    assert scored(file, [{"question_id": 5, "text": "Nokia"}]).score == 100


@pytest.mark.parametrize(
    "prompt",
    ["{}\nOne word.", "{}\nReference OCR token: A, B\nOne word.", "OCR: A. Question: {} :"],
)
def test_llavas_answers_to_textvqa_go_by_the_image_and_the_words(
    prompt: str, tmp_path: Path
) -> None:
    asked = {5: ("a", "brand?"), 6: ("a", "which brand?"), 7: ("b", "brand?"), 8: ("b", "year?")}
    rows = [
        {"question_id": id, "image_id": image, "question": words, "answers": [str(id)] * 10}
        for id, (image, words) in asked.items()
    ]
    file = tmp_path / "TextVQA_0.5.1_val.json"
    file.write_text(json.dumps({"data": rows}))
    answers = [
        {"question_id": image, "prompt": prompt.format(words.capitalize()), "text": str(id)}
        for id, (image, words) in asked.items()
    ]
    found = scored(file, answers[::-1])
    assert (found.score, found.n_total) == (100, 4)
    with pytest.raises(DataError, match="1 question ids missing, of 4: 8"):
        scored(file, answers[:-1])
    with pytest.raises(DataError, match="1 question ids unknown to the benchmark: b"):
        scored(file, [*answers, answers[-1]])


def test_gqa_has_one_answer_which_must_be_met(tmp_path: Path) -> None:
    rows = {
        "201": {
            "question": "What?",
            "imageId": "n1",
            "answer": "left",
            "types": {"structural": "query"},
        },
        "202": {
            "question": "Is it?",
            "imageId": "n1",
            "answer": "no",
            "types": {"structural": "verify"},
        },
    }
    file = tmp_path / "testdev_balanced_questions.json"
    file.write_text(json.dumps(rows))
    answers = [{"question_id": "201", "text": "Left."}, {"question_id": "202", "text": "not"}]
    assert scored(file, answers).by == {"query": 100, "verify": 0, "accuracy": 50}
    own = [{"questionId": row["question_id"], "prediction": row["text"]} for row in answers]
    assert scored(file, own) == scored(file, answers)


def test_a_file_that_is_none_of_them_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"annotations": [{"id": 1}]}')
    with pytest.raises(DataError, match="not as VQAv2, TextVQA or GQA"):
        Vqa.Config(data=file).build().questions()


def test_it_keeps_the_contract(vqav2: Path) -> None:
    check_benchmark(Vqa.Config(data=vqav2), ["yes", "two dogs"])


def test_files_of_images_are_named_as_the_config_says(vqav2: Path) -> None:
    asked = Vqa.Config(data=vqav2, image_name="COCO_val2014_{image:0>12}.jpg").build().questions()
    assert [q.images for q in asked][1:] == [
        ("COCO_val2014_000000000001.jpg",),
        ("COCO_val2014_000000000002.jpg",),
    ]
    # Without a name that fits, asking finds no file: never is a question asked without its image.
    assert Vqa.Config(data=vqav2).build().questions()[0].images == ("1",)
    for wrong in ("{0}.jpg", "{picture}.jpg", "{image", "{image:d}"):
        with pytest.raises(PartError, match="write it with the image's id in braces"):
            Vqa.Config(data=vqav2, image_name=wrong).build()
