"""`replay`: recorded answers, by the request's id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.core.chat import Keys
from isthmus.core.config import create
from isthmus.core.contracts import ChatModel, ChatReply
from isthmus.errors import DataError
from isthmus.testing import check_chat_model
from tests.core.chat.talks import request, requests, settle


def replay(file: Path, *rows: object) -> ChatModel:
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    model: ChatModel = create("chat_model", "replay", file=file)
    return model


def test_an_answer_is_found_by_its_id(tmp_path: Path) -> None:
    rows = [
        {"id": "r1", "text": "one", "model": "gpt-4-0314", "finish": "length"},
        {"id": "r0", "text": "zero\u2028", "prompt_tokens": 7, "completion_tokens": 2},
    ]
    given = settle(replay(tmp_path / "a.jsonl", *rows), requests(3), tmp_path / "j.sqlite")
    assert given["r0"].reply == ChatReply("zero\u2028", "stop", "", 7, 2)
    assert given["r1"].reply == ChatReply("one", "length", "gpt-4-0314")
    assert given["r2"].missing == "refused"
    assert "has no answer with id 'r2'" in given["r2"].reason


def test_other_answers_are_another_model(tmp_path: Path) -> None:
    first = replay(tmp_path / "a.jsonl", {"id": "r0", "text": "one"})
    moved = replay(tmp_path / "b.jsonl", {"id": "r0", "text": "one"})
    other = replay(tmp_path / "c.jsonl", {"id": "r0", "text": "two"})
    keys = [Keys(model).of(request(0)) for model in (first, moved, other)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: not JSON"),
        ([1], r'line 2: a row is \{"id"'),
        ({"id": 7, "text": "a"}, r'line 2: a row is \{"id"'),
        ({"id": "b", "text": None}, "line 2: `text` is the answer's words; found None"),
        ({"id": "b", "text": "a", "txt": ""}, "line 2: unknown key 'txt'. Keys: id"),
        ({"id": "b", "text": "a", "finish": "eos"}, "line 2: `finish` is one of stop, length"),
        ({"id": "a", "text": "b"}, "line 2: id 'a' is answered twice"),
    ],
    ids=str,
)
def test_a_wrong_row_is_named(tmp_path: Path, row: object, message: str) -> None:
    model = replay(tmp_path / "a.jsonl", {"id": "a", "text": "b"}, row)
    with pytest.raises(DataError, match=message):
        settle(model, requests(1), tmp_path / "j.sqlite")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = create("chat_model", "replay", file=tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match=r"nowhere\.jsonl: cannot be read: No such file"):
        settle(model, requests(1), tmp_path / "j.sqlite")


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    rows = [{"id": f"r{number}", "text": "a"} for number in range(3)]
    check_chat_model(replay(tmp_path / "a.jsonl", *rows).config, requests(3))
