"""`openai`: what a server says is a reply, or broken, whatever it is."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from isthmus.core.config import create
from isthmus.core.contracts import ChatReply
from isthmus.errors import ChatBroken

MODEL = create("chat_model", "openai", model="m", base_url="http://localhost:1/v1")


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": "stop", **fields}], "model": "x"}


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (choice(message={"content": "Hi"}), ChatReply("Hi", "stop", "x")),
        (
            choice(message={"content": "Hi"}, finish_reason="length"),
            ChatReply("Hi", "length", "x"),
        ),
        (choice(message={"content": None}, finish_reason="length"), ChatReply("", "length", "x")),
        (choice(message={"content": ""}), ChatReply("", "stop", "x")),
        (
            choice(message={"content": None, "refusal": "I will not."}),
            ChatReply("I will not.", "refusal", "x"),
        ),
        (
            choice(message={"content": "a"}, finish_reason="content_filter"),
            ChatReply("a", "refusal", "x"),
        ),
        (
            choice(message={"content": "a"}, finish_reason="tool_calls"),
            ChatReply("a", "other", "x"),
        ),
        (
            {**choice(message={"content": "a"}), "usage": {"prompt_tokens": 3, "total_tokens": 9}},
            ChatReply("a", "stop", "x"),
        ),
        (
            choice(message={"content": "\ud83d\ude00\udc00"}),
            ChatReply("\U0001f600\ufffd", "stop", "x"),
        ),
    ],
    ids=str,
)
def test_what_came_is_read(body: dict[str, Any], reply: ChatReply) -> None:
    assert MODEL.read(json.dumps(body)) == reply


@pytest.mark.parametrize(
    ("raw", "message", "spent"),
    [
        ("", "not JSON", None),
        ('{"choices": [', "not JSON", None),
        ("[" * 100_000, "not JSON", None),
        ("null", "no chat completion", None),
        ('{"error": {"message": "oops"}}', "no chat completion: .*oops", None),
        (
            '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}',
            "no cho",
            (3, 0),
        ),
        ('{"choices": ["text"]}', "a choice without a message", None),
        ('{"choices": [{"message": {"content": null}}]}', "a message without content", None),
        ('{"choices": [{"message": {"content": ["a"]}}]}', "a message without content", None),
        ("[]", "no choices", None),
    ],
)
def test_what_is_no_reply_is_broken(raw: str, message: str, spent: tuple[int, int] | None) -> None:
    with pytest.raises(ChatBroken, match=message) as caught:
        MODEL.read(raw)
    assert caught.value.spent == spent


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "delta", "finish_reason", "custom_id"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@drawn(VALUES)
def test_whatever_comes_is_a_reply_or_broken(value: Any) -> None:
    with suppress(ChatBroken):
        assert isinstance(MODEL.read(json.dumps(value)), ChatReply)
