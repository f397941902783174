"""Answers and reviews are read in every published form; ids are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.contracts import Benchmark, Reply
from isthmus.errors import DataError
from isthmus.evaluate.matching import matched
from isthmus.evaluate.replies import read_replies
from isthmus.registry import find
from tests.evaluate.toys import QUESTIONS, letters, replies, write_lines


def read(file: Path, benchmark: Benchmark | None = None) -> list[list[tuple[Any, str]]]:
    runs = read_replies(file, benchmark or letters())
    return [[(reply.id, reply.text) for reply in run] for run in runs]


def written(folder: Path, value: Any) -> Path:
    file = folder / "answers.json"
    file.write_text(json.dumps(value, indent=1))
    return file


ROWS = [{"question_id": 1, "text": "A"}, {"question_id": "x", "text": "B\nC", "model_id": "m"}]


def test_rows_one_a_line_and_in_a_list_are_the_same(tmp_path: Path) -> None:
    assert read(write_lines(tmp_path / "a.jsonl", ROWS)) == [[(1, "A"), ("x", "B\nC")]]
    assert read(written(tmp_path, ROWS)) == [[(1, "A"), ("x", "B\nC")]]


def test_empty_lines_carriage_returns_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    text = "\r\n".join(["", *map(json.dumps, ROWS), "", ""])
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(file) == [[(1, "A"), ("x", "B\nC")]]


def test_records_of_several_lines_may_stand_one_after_another(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("\n".join(json.dumps(row, indent=4) for row in ROWS) + "\n")
    assert read(file) == [[(1, "A"), ("x", "B\nC")]]
    file.write_text(file.read_text() + "[1]")
    with pytest.raises(DataError, match="record 3: a record is a JSON object"):
        read(file)
    file.write_text(json.dumps(ROWS, indent=4) + "}")
    with pytest.raises(DataError, match=r"not JSON .*line 11, column 2"):
        read(file)


def test_names_of_fields_cannot_steer_a_terminal(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"question_id": 1, "\x1b[31m": "A", "\ud800": 1}])
    with pytest.raises(DataError) as error:
        read(file)
    assert str(error.value).isascii()
    assert str(error.value).isprintable()


def test_one_row_alone_is_a_row(tmp_path: Path) -> None:
    assert read(write_lines(tmp_path / "a.jsonl", ROWS[:1])) == [[(1, "A")]]


def test_scienceqas_text_decides_and_the_index_where_there_is_none(tmp_path: Path) -> None:
    file = written(
        tmp_path, {"acc": 1, "results": {"4": 1, "5": 0, "6": -1}, "outputs": {"4": "", "7": "D"}}
    )
    assert read(file) == [[("4", ""), ("5", "A"), ("6", ""), ("7", "D")]]


def test_llava_15s_parsed_letters_are_read_whatever_list_they_are_in(tmp_path: Path) -> None:
    rows = [{"question_id": "4", "parsed_ans": "B", "ground_truth": "B"}]
    wrong = [{"question_id": "5", "parsed_ans": "A", "pred": "C. no"}]
    assert read(written(tmp_path, {"correct": rows, "incorrect": wrong})) == [
        [("4", "B"), ("5", "C. no")]
    ]


def test_a_mapping_of_ids_to_texts_is_read(tmp_path: Path) -> None:
    assert read(written(tmp_path, {"v1_0": "A", "v1_1": "B"})) == [[("v1_0", "A"), ("v1_1", "B")]]


def test_mm_vets_grades_are_as_many_runs_as_they_have_scores(tmp_path: Path) -> None:
    judged = find("benchmark", "mm_vet").part.Config().build()
    grades = {"v1_0": {"score": [0.5, 1], "content": ["0.5", "1"]}, "v1_1": {"score": [0, None]}}
    assert read(written(tmp_path, grades), judged) == [
        [("v1_0", "0.5"), ("v1_1", "0")],
        [("v1_0", "1"), ("v1_1", "")],
    ]
    grades["v1_2"] = {"score": [1]}
    with pytest.raises(DataError, match="v1_2: 1 runs, where others have 2"):
        read(written(tmp_path, grades), judged)


def test_a_review_without_words_is_there_and_an_answer_without_is_an_error(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"question_id": 1, "error": "timeout"}])
    judged = find("benchmark", "llava_bench").part.Config().build()
    assert read(file, judged) == [[(1, "")]]
    with pytest.raises(DataError, match="line 1: one of the fields text, answer"):
        read(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("[]", "nothing"),
        ('{"question_id": 1, "text": "A"}\n{"question_id": 2, ', "line 2: not JSON"),
        ('{"question_id": 1, "text": "A", "text": "B"}', "the key 'text' stands twice"),
        ('{"4": "A", "4": "B"}', "the key '4' stands twice"),
        ('{"question_id": true, "text": "A"}', "an id is a number or a string; found True"),
        ('{"question_id": 1, "text": {"a": 1}}', "a reply is text; found"),
        ('{"question_id": 1, "text": ' + "[" * 800 + "]" * 800 + "}", "a reply is text; found"),
        ('{"question_id": 1, "text": ' + "9" * 5000 + "}", "a number with too many digits"),
        ('{"scores": {}, "preds": ["A"]}', "by question id are needed; found an object of scores"),
        ('{"text": "A"}\n{"text": "B"}', "line 1: it has none of the fields question_id"),
        ('"A"', "a JSON object, a list, or JSON lines; found 'A'"),
        ('[["A"]]', "record 1: a record is a JSON object"),
        ('{"results": {"4": "B"}}', "a result is the index of a choice; found 'B'"),
        ('{"results": [1]}', "`results` is a mapping of ids; found"),
        ('{"correct": {}, "incorrect": []}', "`correct` is a list of rows"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_file_of_answers_is_named(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    if words == "nothing":
        assert read(file) == [[]]
        return
    with pytest.raises(DataError) as error:
        read(file)
    assert words in str(error.value)
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json: there is no such file"):
        read(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8 text at byte 0"):
        read(tmp_path / "b.json")


def test_replies_come_in_the_order_of_the_questions_and_7_is_the_7_of_text() -> None:
    found = matched(
        QUESTIONS, [Reply("4", "B"), Reply(2, "B"), Reply(1, "A"), Reply("3", "A")], "f"
    )
    assert [reply.text for reply in found] == ["A", "B", "A", "B"]


def test_ids_that_are_twice_unknown_or_missing_are_all_named_at_once() -> None:
    given = [*replies("AB"), Reply("2", "B"), Reply(9, "A")]
    with pytest.raises(DataError) as error:
        matched(QUESTIONS, given, "answers.jsonl")
    assert str(error.value).splitlines() == [
        "answers.jsonl:",
        "  1 question ids answered twice: 2; keep one row of each",
        "  1 question ids unknown to the benchmark: 9; remove them, or name the right data",
        '  2 question ids missing, of 4: 3, 4; a row with text "" stands for none',
    ]
