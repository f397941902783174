"""A teacher who sees no picture answers from its description."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from isthmus.core.data.rows import read_rows
from isthmus.errors import DataError
from isthmus.evaluate.judging import Jury
from isthmus.evaluate.teaching import teach
from tests.evaluate.bench import bench, config, judged, jury_of, says
from tests.loopback import Answer, Asked, error, loopback


def test_reference_answers_come_from_descriptions_and_can_be_judged_with(tmp_path: Path) -> None:
    def teacher(asked: Asked) -> Answer:
        if asked.prompt.startswith("Answer a question"):
            assert "What is in the picture:\n> A cat.\n" in asked.prompt
            return says(asked, f"Taught: {asked.prompt.rpartition(' ')[2]}")
        assert "Assistant 1:\n> Taught: " in asked.prompt
        return says(asked, "8 4")

    folder = bench(tmp_path, 6)
    with loopback(teacher) as server:
        untaught = config(folder).model_copy(update={"reference": None}).build()
        with Journal(folder / "journal.sqlite") as journal:
            jury = Jury(jury_of(server.url), journal)
            assert teach(untaught, jury, folder / "reference.jsonl") == []
        run, _ = judged(folder, jury_of(server.url))
    assert run.reads == ["8 4"] * 6
    row, _ = read_rows(folder / "reference.jsonl")[1]
    assert row == {
        "question_id": 1,
        "prompt": "Question 1?",
        "text": "Taught: 1?",
        "category": "detail",
        "model_id": "loopback-1",
    }


def test_what_a_teacher_did_not_say_has_no_row(tmp_path: Path) -> None:
    def teacher(asked: Asked) -> Answer:
        if asked.prompt.endswith("1?"):
            return error(400, "never")
        cut = "length" if asked.prompt.endswith("2?") else "stop"
        return says(asked, "Said.\nAnd more", finish_reason=cut)

    folder = bench(tmp_path, 4)
    with loopback(teacher) as server, Journal(folder / "journal.sqlite") as journal:
        jury = Jury(jury_of(server.url), journal)
        assert teach(config(folder).build(), jury, folder / "made.jsonl") == [1, 2]
    assert [row["question_id"] for row, _ in read_rows(folder / "made.jsonl")] == [0, 3]


def test_a_picture_that_nothing_describes_is_an_error(tmp_path: Path) -> None:
    folder = bench(tmp_path, 2)
    (folder / "context.jsonl").write_text('{"image": "other.jpg", "captions": ["A dog."]}\n')
    with loopback() as server, Journal(folder / "journal.sqlite") as journal:
        jury = Jury(jury_of(server.url), journal)
        with pytest.raises(DataError, match="nothing describes the picture of question 0"):
            teach(config(folder).build(), jury, folder / "made.jsonl")
        assert server.ledger == []
