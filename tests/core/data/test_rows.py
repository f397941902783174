"""Published JSON is read whole; what is wrong with a file is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.data.question_file import read_question_file
from isthmus.core.data.rows import one_file, read_object, read_rows, read_table
from isthmus.errors import DataError


def test_rows_know_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('\n{"a": 1}\n\n{"a": 2}\n')
    assert read_rows(file) == [({"a": 1}, f"{file}, line 2"), ({"a": 2}, f"{file}, line 4")]
    with pytest.raises(DataError, match="one JSON object"):
        read_object(file)
    file.write_text('[{"a": 1}]')
    assert read_rows(file) == [({"a": 1}, f"{file}, record 1")]
    file.write_text("[]")
    with pytest.raises(DataError, match="no record in it"):
        read_rows(file)


def test_an_object_over_several_lines_is_one(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{\n "a": 1,\n "b": {"c": 2}\n}')
    assert read_object(file) == {"a": 1, "b": {"c": 2}}


def test_a_table_needs_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,grade\n1,2\n")
    assert read_table(file, ["id"]) == [{"id": "1", "grade": "2"}]
    with pytest.raises(DataError, match="no column subject"):
        read_table(file, ["id", "subject"])


def test_the_one_file_of_a_folder_is_found_and_two_are_a_question(tmp_path: Path) -> None:
    for name in ("a_x.json", "b_y.json", "b_z.json"):
        (tmp_path / name).write_text("{}")
    assert one_file(tmp_path / "a_x.json", "b*", what="it") == tmp_path / "a_x.json"
    assert one_file(tmp_path, "c*", "a*", what="it").name == "a_x.json"
    with pytest.raises(DataError, match=r"which file has it\? Give one of b_y.json, b_z.json"):
        one_file(tmp_path, "b*", what="it")
    with pytest.raises(DataError, match=r"no file c\* or d\* in it \(it\)"):
        one_file(tmp_path, "c*", "d*", what="it")
    with pytest.raises(DataError, match="no such file or folder"):
        one_file(tmp_path / "nowhere", "c*", what="it")


def test_questions_are_read_by_any_of_the_names_of_their_fields(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(
        '{"question_id": 7, "image": "7.png", "text": "What?", "answer": "a cat", "type": "x"}\n'
        '{"id": "b", "images": ["1.png", "2.png"], "question": "How?", "answers": [2, "two"]}\n'
    )
    one, other = read_question_file(file)
    assert (one.id, one.prompt, one.images, one.references) == (7, "What?", ("7.png",), ("a cat",))
    assert (one.labels, one.cluster) == (("x",), "7.png")
    assert (other.prompt, other.references, other.labels) == ("How?", ("2", "two"), ())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"question_id": 7, "answer": "x"}', "the id 7 is that of"),
        ('{"answer": "x"}', "question_id: a number or a string is needed; found None"),
        ('{"question_id": 8}', "no answer; write it in one of answers"),
        ('{"question_id": 8, "answer": [true]}', "text is needed; found True"),
    ],
)
def test_a_question_that_is_none_is_named_with_its_line(
    row: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(f'{{"question_id": 7, "answer": "x"}}\n{row}\n')
    with pytest.raises(DataError) as error:
        read_question_file(file)
    assert words in str(error.value)
    assert f"{file}, line 2" in str(error.value)
