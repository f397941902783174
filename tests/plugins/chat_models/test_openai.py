"""`openai`: what goes over the wire, and what comes back."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.config import create, validate_part
from isthmus.core.contracts import ChatParameters, ChatReply, ChatRequest, ImageSlot, Turn
from isthmus.errors import ConfigError
from tests.core.chat.talks import endpoint, request, requests, right, sent, settle
from tests.loopback import loopback, words_for


def test_the_body_is_what_the_interface_says(path: Path) -> None:
    asked = request(1, temperature=0.5, top_p=0.9, max_tokens=50, seed=3)
    seen = sent(path, asked, extra={"top_k": 20})
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["content-type"] == "application/json"
    assert seen.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "say 1"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 3,
        "top_k": 20,
    }


def test_what_is_not_set_is_not_sent(path: Path) -> None:
    assert sent(path, request(1, max_tokens=None)).body.keys() == {"model", "messages"}


@pytest.mark.parametrize("structured", [True, False, None])
def test_a_schema_goes_to_endpoints_that_keep_to_one(path: Path, structured: bool | None) -> None:
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}}
    seen = sent(path, request(1, json_schema=schema), structured=structured)
    if structured:
        form = seen.body["response_format"]
        assert form["type"] == "json_schema"
        assert form["json_schema"]["schema"] == schema
    else:
        assert "response_format" not in seen.body


def test_openai_itself_has_its_own_words() -> None:
    ours = create("chat_model", "openai", model="gpt-4o")
    assert ours.structured
    assert ours.config.longest == "max_completion_tokens"
    other = create("chat_model", "openai", model="m", base_url="http://localhost:8000/v1")
    assert not other.structured
    assert other.config.longest == "max_tokens"


def test_images_go_as_their_own_bytes_or_as_png(path: Path, tmp_path: Path) -> None:
    picture = Image.new("RGB", (5, 4), "red")
    jpeg, bitmap = tmp_path / "a.jpg", tmp_path / "b.bmp"
    picture.save(jpeg)
    picture.save(bitmap)
    content = ("Compare ", ImageSlot(0), " with ", ImageSlot(1), ImageSlot(2))
    asked = ChatRequest("a", (Turn("user", content),), (jpeg, bitmap, picture))
    pieces = sent(path, asked).body["messages"][0]["content"]
    assert [piece["type"] for piece in pieces] == ["text", "image_url", "text", *["image_url"] * 2]
    urls = [piece["image_url"]["url"] for piece in pieces if piece["type"] == "image_url"]
    heads, contents = zip(*(url.split(";base64,") for url in urls), strict=True)
    assert heads == ("data:image/jpeg", "data:image/png", "data:image/png")
    assert base64.b64decode(contents[0]) == jpeg.read_bytes()
    for content in contents[1:]:
        assert Image.open(BytesIO(base64.b64decode(content))).tobytes() == picture.tobytes()


def test_half_characters_are_sent_as_what_utf_8_can_say(path: Path) -> None:
    asked = ChatRequest("a\ud800", (Turn("user", ("\ud83d\ude00 and \udc00",)),))
    assert sent(path, asked).prompt == "\U0001f600 and \ufffd"


def test_a_streamed_reply_is_the_reply(path: Path, tmp_path: Path) -> None:
    with loopback() as server:
        whole = settle(endpoint(server), requests(20), path)
        pieces = settle(endpoint(server, stream=True), requests(20), tmp_path / "b.sqlite")
        plain = endpoint(server, stream=True, stream_usage=False)
        silent = settle(plain, requests(20), tmp_path / "c.sqlite")
        streamed = [asked for asked in server.ledger if asked.body.get("stream")]
        assert len(streamed) == 40
        assert sum("stream_options" in asked.body for asked in streamed) == 20
    assert {k: o.reply for k, o in whole.items()} == {k: o.reply for k, o in pieces.items()}
    assert all(map(right, silent.values()))
    assert {o.reply.spent for o in silent.values() if o.reply} == {None}


def test_words_are_those_of_the_server(path: Path) -> None:
    """The whole way, by hand: no test of ours computes what it then compares with itself."""
    with loopback() as server:
        given = settle(endpoint(server), [request(5, temperature=0)], path)
    assert given["r5"].reply == ChatReply(
        words_for("say 5"), "stop", "loopback-1", 2, len(words_for("say 5").split())
    )
    assert ChatParameters(temperature=0) == request(5, temperature=0).parameters


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_url": "localhost:8000"}, r"base_url: 'localhost:8000' is no address; write https"),
        ({"base_url": "https://me:secret@host/v1"}, "base_url: an address is part of the journal"),
        ({"base_url": "https://host/v1?key=secret"}, "name the variable that has it: `api_key_env"),
        ({"extra": {"messages": []}}, r"extra\.messages: is not for `extra` to set"),
        ({"api_key": "sk-1"}, "a secret does not belong in a YAML; name the variable: `api_key_en"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_yaml_is_said_before_anything_is_asked(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        validate_part("chat_model", {"type": "openai", "model": "m", **fields})
    assert "me:secret" not in str(caught.value)
