"""Exact match, the generic benchmark, retrieval and CHAIR, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.scene.objects import object_words, objects_in
from isthmus.errors import DataError
from isthmus.evaluate.scoring import Scores, open_runs, score
from isthmus.plugins.benchmarks.chair import Chair
from isthmus.plugins.benchmarks.exact_match import ExactMatch
from isthmus.plugins.benchmarks.generic import Generic
from isthmus.plugins.benchmarks.retrieval import Retrieval
from isthmus.testing import check_benchmark
from tests.evaluate.toys import write_lines


def scored(config: Any, answers: list[dict[str, Any]]) -> Scores:
    benchmark = config.build()
    file = write_lines(config.data.parent / "answers.jsonl", answers)
    return score(benchmark, open_runs(benchmark, [file]))


def texts(*said: str) -> list[dict[str, Any]]:
    return [{"question_id": number, "text": text} for number, text in enumerate(said)]


def questions(folder: Path, *rows: dict[str, Any]) -> Path:
    return write_lines(
        folder / "q.jsonl", ({"question_id": n, **row} for n, row in enumerate(rows))
    )


def test_exact_match_forgives_capitals_and_marks_unless_literal(tmp_path: Path) -> None:
    file = questions(tmp_path, {"answer": ["red bus", "bus"]}, {"answer": "2"}, {"answer": "No"})
    said = texts(" The.", "2", "no.")
    found = scored(ExactMatch.Config(data=file), [*said[1:], {"question_id": 0, "text": "A Bus!"}])
    assert (found.score, found.invalid) == (pytest.approx(200 / 3), ())
    right = scored(ExactMatch.Config(data=file), texts("Red  bus.", "2", "NO"))
    assert right.score == 100
    literal = scored(ExactMatch.Config(data=file, literal=True), texts("red bus ", "2", "no"))
    assert literal.score == pytest.approx(200 / 3)
    assert scored(ExactMatch.Config(data=file), texts("", "2", "no")).invalid == (0,)


@pytest.mark.parametrize(
    ("rule", "row", "right", "wrong", "silent"),
    [
        ("contains", {"answer": "red bus"}, "It is a red bus.", "a red double bus", ""),
        ("contains", {"answer": ["cat", "kitten"]}, "Kitten!", "a category", "!"),
        ("choice", {"answer": "B", "options": ["x", "y"]}, "The answer is B.", "A. x", "C"),
        ("choice", {"answer": "y", "options": ["x", "y"]}, "B. y", "A", "y or x"),
        ("yes_no", {"answer": "yes"}, "Yes, it is.", "No", "Maybe"),
        ("number", {"answer": 1250}, "about 1,250.0 of them", "125", "many"),
    ],
)
def test_generic_rules(
    rule: Any, row: dict[str, Any], right: str, wrong: str, silent: str, tmp_path: Path
) -> None:
    config = Generic.Config(data=questions(tmp_path, row, row, row), rule=rule)
    found = scored(config, texts(right, wrong, silent))
    assert found.score == pytest.approx(100 / 3)
    assert found.invalid == (2,)
    check_benchmark(config, [right, wrong])


def test_generic_refuses_an_answer_that_its_rule_cannot_read(tmp_path: Path) -> None:
    file = questions(tmp_path, {"answer": "perhaps"})
    with pytest.raises(DataError, match="question 0: the answer 'perhaps' means nothing by"):
        Generic.Config(data=file, rule="yes_no").build().questions()


def test_recall_counts_a_relevant_candidate_among_the_first(tmp_path: Path) -> None:
    file = questions(
        tmp_path,
        {"relevant": ["a", "b"], "category": "text"},
        {"relevant": "c", "category": "text"},
        {"relevant": [7], "category": "image"},
        {"relevant": ["z"], "category": "image"},
    )
    rankings: list[Any] = [["b", "c"], ["x", "x", "x", "x", "x", "c"], [1, 2, 3, 4, 5, 6, 7], []]
    answers = [{"question_id": n, "ranking": ranking} for n, ranking in enumerate(rankings)]
    config = Retrieval.Config(data=file)
    found = scored(config, answers)
    assert found.by == {
        "text": 50,
        "image": 0,
        "recall@1": 25,
        "recall@5": 50,
        "recall@10": 75,
    }
    assert found.invalid == (3,)
    check_benchmark(config, ["a\nb\nc"])
    check_benchmark(ExactMatch.Config(data=file), ["a"])


def test_objects_are_found_by_their_longest_names() -> None:
    words = object_words()
    text = "Two men eat hot dogs at a dining table; a teddy bear and 3 knives lie near the TVs."
    assert objects_in(text, words) == [
        *("person", "hot dog", "dining table", "teddy bear", "knife", "tv")
    ]
    assert objects_in("A baseball field behind the train station.", words) == []
    assert len(set(words.values()) - {""}) == 80


def test_every_object_of_coco_is_known_by_its_name(data_folder: Path) -> None:
    lines = (data_folder / "coco" / "instances.jsonl").read_text().splitlines()
    names = {each["category"] for line in lines for each in json.loads(line)["instances"]}
    assert len(names) > 70
    assert all(objects_in(name, object_words()) == [name] for name in names)


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    rows = [
        {"id": 1, "image": "1.jpg", "instances": [{"category": "dog"}, {"category": "car"}]},
        {"id": 2, "image": "2.jpg", "instances": [], "captions": ["A kitten on a sofa."]},
        {"id": 3, "image": "3.jpg", "instances": [{"category": "person"}]},
    ]
    return write_lines(tmp_path / "instances.jsonl", rows)


SAID = ["A dog beside two dogs and a cat.", "A cat lies on a couch.", "A man with an umbrella."]


def test_chair_by_hand(annotated: Path) -> None:
    answers = [{"image_id": n, "caption": text} for n, text in enumerate(SAID, 1)]
    found = scored(Chair.Config(data=annotated), answers)
    # Named: 3, 2 and 2; not there: the cat, nothing, the umbrella.
    assert found.by == {"CHAIRi": pytest.approx(100 * 2 / 7), "CHAIRs": pytest.approx(200 / 3)}
    assert found.score == found.by["CHAIRi"]


def test_chair_reads_what_its_own_program_takes(annotated: Path, tmp_path: Path) -> None:
    rows = {str(n): {"image_id": n, "caption": text} for n, text in enumerate(SAID, 1)}
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"overall": {"CIDEr": 1.0}, "imgToEval": rows}))
    benchmark = Chair.Config(data=annotated).build()
    assert score(benchmark, open_runs(benchmark, [file])).score == pytest.approx(100 * 2 / 7)
    numbered = [{"question_id": n - 1, "image_id": n, "text": t} for n, t in enumerate(SAID, 1)]
    assert scored(Chair.Config(data=annotated), numbered).score == pytest.approx(100 * 2 / 7)


def test_chair_from_cocos_own_files_is_the_same(annotated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    folder.mkdir()
    names = ["dog", "car", "person"]
    things = [(1, 0), (1, 1), (3, 2)]
    instances = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2, 3)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
        "annotations": [{"image_id": image, "category_id": which} for image, which in things],
    }
    captions = {"annotations": [{"image_id": 2, "caption": "A kitten on a sofa."}]}
    (folder / "instances_val2014.json").write_text(json.dumps(instances))
    (folder / "captions_val2014.json").write_text(json.dumps(captions))
    by_rows, by_coco = (Chair.Config(data=place).build() for place in (annotated, folder))
    assert by_coco.questions() == by_rows.questions()


def test_chairs_own_list_of_words_can_be_used(annotated: Path, tmp_path: Path) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_text("dog, hound\ncar\nperson, man\n")
    answers = [{"image_id": n, "caption": text} for n, text in enumerate(SAID, 1)]
    found = scored(Chair.Config(data=annotated, synonyms=file), answers)
    assert found.by == {"CHAIRi": 0, "CHAIRs": 0}


def test_a_caption_that_names_nothing_counts_in_chairs_alone(annotated: Path) -> None:
    answers = [{"image_id": n, "caption": "Nice."} for n in (1, 2, 3)]
    found = scored(Chair.Config(data=annotated), answers)
    assert found.by == {"CHAIRi": None, "CHAIRs": 0}
    assert found.score is None
    check_benchmark(Chair.Config(data=annotated), SAID)
