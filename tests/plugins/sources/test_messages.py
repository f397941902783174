"""Hugging Face style records, right and wrong."""

from __future__ import annotations

import json

import pytest

from isthmus.core.contracts import ImageSlot, Turn
from isthmus.errors import DataError
from isthmus.plugins.sources.messages import Messages

ANSWER = {"role": "assistant", "content": "A cat."}


def user(*content):
    return {"role": "user", "content": list(content)}


def text(words):
    return {"type": "text", "text": words}


@pytest.fixture
def write(tmp_path):
    def write(*records, **fields):
        path = tmp_path / "train.jsonl"
        path.write_text("\n".join(json.dumps(record) for record in records))
        return Messages.Config(file=path, **({"images": tmp_path} | fields)).build()

    return write


def test_listed_images_fill_the_image_pieces_in_order(write):
    record = {
        "messages": [
            {"role": "system", "content": [text("Be brief.")]},
            user({"type": "image"}, text("this and"), {"type": "image"}),
            ANSWER,
        ],
        "images": ["a.jpg", "b.jpg"],
    }
    sample = write(record)[0]
    assert sample.turns == (
        Turn("system", ("Be brief.",)),
        Turn("user", (ImageSlot(0), "\n", "this and", ImageSlot(1))),
        Turn("assistant", ("A cat.",)),
    )
    assert [path.name for path in sample.images] == ["a.jpg", "b.jpg"]


def test_image_pieces_may_name_their_file(write):
    piece = {"type": "image", "image": "b.jpg"}
    other = {"type": "image", "path": "c.jpg"}
    record = {
        "messages": [user({"type": "image"}, piece, text("\nso?"), other), ANSWER],
        "images": "a.jpg",
    }
    sample = write(record)[0]
    assert [path.name for path in sample.images] == ["a.jpg", "b.jpg", "c.jpg"]
    assert sample.turns[0].content == (ImageSlot(0), ImageSlot(1), "\nso?", ImageSlot(2))


def test_placeholder_counts_only_where_the_record_lists_images(write):
    talk = [{"role": "user", "content": "<image> hi"}, ANSWER]
    source = write({"messages": talk, "images": ["a.jpg"]}, {"messages": talk})
    assert source[0].turns[0].content == (ImageSlot(0), " hi")
    assert source[1].turns[0].content == ("<image> hi",)
    pieces = [user({"type": "image"}, text("what is <image>?")), ANSWER]
    sample = write({"messages": pieces, "images": ["a.jpg"]})[0]
    assert sample.turns[0].content == (ImageSlot(0), "\n", "what is <image>?")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"messages": [user(text("hi"))]}, "no assistant turn"),
        ({"messages": [ANSWER]}, "turn 1 is the assistant's"),
        ({"messages": "hi"}, "`messages` is a list"),
        ({"messages": [user({"type": "image"}), ANSWER]}, "more image places than `images`"),
        ({"messages": [user(text("x")), ANSWER], "images": ["a"]}, "1 image, but 0 <image>"),
        ({"messages": [{"role": "tool", "content": "x"}, ANSWER]}, "a message is {"),
        ({"messages": [user({"type": "audio"}), ANSWER]}, "a piece is {"),
        ({"messages": [user(text(None)), ANSWER]}, "`content` is text; found None"),
        ({"messages": [{"role": "user", "content": None}, ANSWER]}, "`content` is a list"),
        (
            {"messages": [user(text("x")), {"role": "assistant", "content": [{"type": "image"}]}]},
            "only a user's message holds images",
        ),
        (
            {"messages": [user({"type": "image", "image": "../x"}), ANSWER]},
            "leaves the `images` folder",
        ),
    ],
)
def test_wrong_record_is_named(record, said, write, tmp_path):
    good = {"messages": [user(text("hi")), ANSWER]}
    with pytest.raises(DataError) as caught:
        write(good, record)
    assert str(caught.value).startswith(f"{tmp_path}/train.jsonl, line 2: ")
    assert said in str(caught.value)


def test_images_without_their_folder_are_refused(write):
    record = {"messages": [user({"type": "image", "image": "a.jpg"}), ANSWER]}
    with pytest.raises(DataError, match="give `images`"):
        write(record, images=None)
