"""A reply's key: whatever changes the reply changes it, and nothing else does."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.chat import Keys
from isthmus.core.config import create
from isthmus.core.contracts import ChatParameters, ChatRequest, ImageSlot, Turn
from isthmus.errors import ImageError

ASKED = ChatRequest("a", (Turn("system", ("Be brief.",)), Turn("user", ("Hello",))))
OTHERS = {
    "words": replace(ASKED, turns=(ASKED.turns[0], Turn("user", ("Hello!",)))),
    "roles": replace(ASKED, turns=(Turn("user", ("Be brief.",)), ASKED.turns[1])),
    "one turn": replace(ASKED, turns=(Turn("user", ("Be brief.Hello",)),)),
    "pieces": replace(ASKED, turns=(ASKED.turns[0], Turn("user", ("Hel", "lo")))),
    "temperature": replace(ASKED, parameters=ChatParameters(temperature=0)),
    "length": replace(ASKED, parameters=ChatParameters(max_tokens=5)),
    "seed": replace(ASKED, parameters=ChatParameters(seed=0)),
    "schema": replace(ASKED, parameters=ChatParameters(json_schema={"type": "string"})),
    "draw": replace(ASKED, draw=1),
    "surrogate": replace(ASKED, turns=(Turn("user", ("Hello\ud800",)),)),
}


def key(request: ChatRequest, **fields: Any) -> str:
    model = create("chat_model", "openai", **{"model": "m", **fields})
    return Keys(model).of(request)


def test_requests_that_may_be_answered_differently_have_different_keys() -> None:
    keys = {key(other) for other in OTHERS.values()} | {key(ASKED)}
    assert len(keys) == len(OTHERS) + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "n"},
        {"base_url": "http://localhost:8000/v1"},
        {"structured": False},
        {"extra": {"top_k": 3}},
    ],
    ids=str,
)
def test_another_model_has_another_key(fields: dict[str, Any]) -> None:
    assert key(ASKED, **fields) != key(ASKED)


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key_env": "OTHER"},
        {"price": {"prompt": 1, "completion": 2}},
        {"stream": True, "stream_usage": False},
    ],
    ids=str,
)
def test_how_it_is_asked_is_not_in_the_key(fields: dict[str, Any]) -> None:
    assert key(ASKED, **fields) == key(ASKED)


def test_the_id_is_not_in_the_key() -> None:
    assert key(replace(ASKED, id="b")) == key(ASKED)


def test_a_batch_and_a_live_endpoint_share_their_replies(tmp_path: Path) -> None:
    batch = create("chat_model", "openai_batch", model="m", folder=tmp_path)
    assert Keys(batch).of(ASKED) == key(ASKED)


def test_an_image_is_known_by_its_bytes(tmp_path: Path) -> None:
    turns = (Turn("user", (ImageSlot(0), "What?")),)
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file, colour in zip(files, ("red", "red", "blue"), strict=True):
        Image.new("RGB", (4, 4), colour).save(file)
    red, same, blue = (key(ChatRequest("a", turns, (file,))) for file in files)
    assert red == same == key(ChatRequest("a", turns, (files[0].read_bytes(),)))
    assert red != blue
    opened = [Image.new("RGB", size, "red") for size in ((2, 8), (8, 2), (2, 8))]
    tall, wide, again = (key(ChatRequest("a", turns, (image,))) for image in opened)
    assert tall == again != wide
    with pytest.raises(ImageError, match=r"a: .*nowhere\.png: there is no such file"):
        key(ChatRequest("a", turns, (tmp_path / "nowhere.png",)))


def test_a_key_stays_the_same_from_one_version_to_the_next() -> None:
    """Written down: a journal that is paid for must still be read by a later isthmus."""
    said = (
        r'[1,"{\"model\":\"m\",\"type\":\"openai\"}",'
        r'[["system",["Be brief."]],["user",["Hello"]]],[],{"max_tokens":1024},0]'
    )
    assert key(ASKED) == hashlib.sha256(said.encode()).hexdigest()
