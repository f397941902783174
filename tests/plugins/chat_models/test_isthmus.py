"""`isthmus`: a checkpoint of ours answers as its assistant does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core import assistant
from isthmus.core.chat import Keys
from isthmus.core.config import create
from isthmus.core.contracts import ChatModel, ChatParameters, ChatRequest, ImageSlot, Turn
from isthmus.errors import CheckpointError
from isthmus.testing import check_chat_model
from tests.core.chat.talks import settle
from tests.tiny_run import save_tiny_run

RED, BLUE = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (5, 9), "blue")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_run(tmp_path_factory.mktemp("tiny") / "run")


def ours(folder: Path, **fields: Any) -> ChatModel:
    model: ChatModel = create("chat_model", "isthmus", checkpoint=folder, device="cpu", **fields)
    return model


def asked(**parameters: Any) -> list[ChatRequest]:
    settings = ChatParameters(**{"max_tokens": 10, **parameters})
    return [
        ChatRequest("red", (Turn("user", (ImageSlot(0), "\nWhat?")),), (RED,), settings),
        ChatRequest("blue", (Turn("user", (ImageSlot(0), "\nWhat?")),), (BLUE,), settings),
        ChatRequest("none", (Turn("user", ("Hello",)),), (), settings),
    ]


def talk(request: ChatRequest) -> Any:
    return assistant.Conversation(request.turns, request.images)


def test_it_answers_as_the_assistant_does(run: Path, tmp_path: Path) -> None:
    loaded = assistant.load(run, "cpu")
    given = settle(ours(run, batch_size=2), asked(), tmp_path / "j.sqlite")
    for request in asked():
        (alone,) = loaded.full_answers([talk(request)], max_new_tokens=10)
        reply = given[request.id].reply
        assert reply is not None
        assert (reply.text, reply.finish, reply.model) == (alone.text, alone.ending, loaded.name)
        assert reply.spent == (alone.prompt_tokens, alone.tokens)
    spent = [o.reply.prompt_tokens for o in given.values() if o.reply and o.request.id == "red"]
    assert spent[0] is not None
    assert spent[0] > 4, "visual tokens count"


def test_a_draw_follows_from_the_request_alone(run: Path, tmp_path: Path) -> None:
    texts = []
    for size in (1, 3):
        drawn = asked(temperature=2.0, seed=4)
        given = settle(ours(run, batch_size=size), drawn, tmp_path / f"{size}.sqlite")
        texts.append({id: o.reply.text for id, o in given.items() if o.reply})
    assert texts[0] == texts[1]


def test_a_picture_that_cannot_be_read_keeps_no_other_question_from_its_answer(
    run: Path, tmp_path: Path
) -> None:
    noise = b"no picture"
    bad = ChatRequest("bad", (Turn("user", (ImageSlot(0), "?")),), (noise,), asked()[0].parameters)
    given = settle(ours(run), [bad, *asked()], tmp_path / "j.sqlite")
    assert given.pop("bad").missing == "refused"
    assert all(settled.reply for settled in given.values())


def test_weights_are_the_models_identity_wherever_they_lie(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(run, moved)
    other = save_tiny_run(tmp_path / "other" / "run", seed=1)
    keys = [Keys(ours(folder)).of(asked()[2]) for folder in (run, moved, other)]
    assert keys[0] == keys[1] != keys[2]


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        settle(ours(tmp_path), asked(), tmp_path / "j.sqlite")


def test_it_keeps_the_contract(run: Path) -> None:
    check_chat_model(ours(run).config, asked())
