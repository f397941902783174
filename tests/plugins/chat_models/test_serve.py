"""A real server: `transformers serve` with a tiny model of random weights, on this machine.

What it says is nonsense; that it says it, through the official client, whole and in pieces, with
tokens counted as its tokenizer counts them, is what is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from isthmus.core.chat import Journal
from isthmus.core.config import create
from isthmus.core.contracts import ChatParameters, ChatRequest, Turn
from tests.core.chat.talks import settle
from tests.plugins.chat_models.local import save_tiny_chat
from tests.plugins.chat_models.served import served

pytestmark = pytest.mark.slow

WORDS = ("Hi", "What is in the picture?", "A red dog, a cat and a house", "boat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    save_tiny_chat(folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


def asked(**parameters: Any) -> list[ChatRequest]:
    settings = ChatParameters(**{"max_tokens": 8, **parameters})
    return [
        ChatRequest(words[:2], (Turn("user", (words,)),), parameters=settings) for words in WORDS
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_real_server_answers(url: str, folder: Path, tmp_path: Path, stream: bool) -> None:
    model = create("chat_model", "openai", model=str(folder), base_url=url, stream=stream)
    given = settle(model, asked(temperature=0), tmp_path / "j.sqlite", concurrency=2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for request in asked():
        reply = given[request.id].reply
        assert reply is not None, given[request.id].reason
        assert reply.finish in ("stop", "length")
        assert str(folder) in reply.model
        prompt = f"<s>user: {request.turns[0].text}</s><s>assistant: "
        assert reply.prompt_tokens == len(tokenizer.encode(prompt, add_special_tokens=False))
        assert reply.completion_tokens is not None
        assert 0 < reply.completion_tokens <= 8


def test_whole_and_in_pieces_it_is_the_same_reply(url: str, folder: Path, tmp_path: Path) -> None:
    texts = []
    for stream in (False, True):
        model = create("chat_model", "openai", model=str(folder), base_url=url, stream=stream)
        given = settle(model, asked(temperature=0), tmp_path / f"{stream}.sqlite", concurrency=1)
        # The server holds back what may be half a character, and a last one for ever.
        said = {id: one.reply.text.strip() for id, one in given.items() if one.reply}
        texts.append({id: text.strip("\ufffd") for id, text in said.items()})
    assert texts[0] == texts[1]
    assert len(texts[0]) == len(WORDS)


def test_a_model_that_it_does_not_serve_crashes_nothing(url: str, tmp_path: Path) -> None:
    model = create("chat_model", "openai", model="another", base_url=url)
    given = settle(model, asked(), tmp_path / "j.sqlite")
    assert {one.missing for one in given.values()} == {"refused"}
    with Journal(tmp_path / "j.sqlite", read_only=True) as journal:
        assert journal.endings() == {"ChatRefused": len(WORDS)}
