"""Messages become turns; what is wrong with them is said by place."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.assistant.messages import read_messages
from isthmus.core.contracts import ImageSlot
from isthmus.errors import DataError, ImageError

HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi"}


def shown(image: Any, text: str = "What is this?") -> dict[str, Any]:
    pieces = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    return {"role": "user", "content": pieces}


def test_images_are_counted_over_turns_and_followed_by_a_newline(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 3), "red")
    red.save(tmp_path / "red.png")
    stream = BytesIO()
    Image.new("L", (2, 2), 9).save(stream, "PNG")
    both = {
        "role": "user",
        "content": [
            {"type": "text", "text": "These: "},
            {"type": "image", "image": tmp_path / "red.png"},
            {"type": "image", "image": stream.getvalue()},
            {"type": "text", "text": "And?"},
        ],
    }
    talk = read_messages([shown(red), ANSWER, both])
    assert [turn.content for turn in talk.turns] == [
        (ImageSlot(0), "\n", "What is this?"),
        ("Hi",),
        ("These: ", ImageSlot(1), ImageSlot(2), "\n", "And?"),
    ]
    assert [picture.size for picture in talk.pictures] == [(4, 3), (4, 3), (2, 2)]
    assert talk.pictures[1].getpixel((0, 0)) == (255, 0, 0)


def test_words_that_bring_their_own_line_break_get_no_second() -> None:
    talk = read_messages([shown(Image.new("RGB", (2, 2)), "\nWhat?")])
    assert talk.turns[0].content == (ImageSlot(0), "\nWhat?")


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "x.png")
    assert len(read_messages([shown(str(tmp_path / "x.png"))]).pictures) == 1


def test_a_typed_image_placeholder_is_plain_text() -> None:
    talk = read_messages([{"role": "user", "content": "what does <image> mean?"}])
    assert talk.turns[0].content == ("what does <image> mean?",)
    assert talk.pictures == ()


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "a list of messages is needed"),
        (HELLO, "a list of messages is needed"),
        ("Hello", "a list of messages is needed"),
        (["Hello"], r"messages\[0\]: a message has `role` and `content`; found 'Hello'"),
        ([{"role": "user"}], r"messages\[0\]: `content` is missing"),
        ([{**HELLO, "name": "Ann"}], r"messages\[0\]: unknown key 'name'"),
        ([{"role": "bot", "content": "x"}], r"messages\[0\]\.role: 'bot'; possible: system"),
        ([ANSWER], r"'assistant' at the beginning; expected 'system' or 'user'"),
        ([HELLO, HELLO], r"messages\[1\]\.role: 'user' after the user's; expected 'assistant'"),
        ([HELLO, {"role": "system", "content": "x"}], r"'system' after the user's"),
        ([HELLO, ANSWER], "the last message is the assistant's"),
        ([{"role": "system", "content": "x"}], "the last message is the system's"),
        ([{"role": "user", "content": 3}], r"content: text is needed, or a list.*found 3"),
        ([{"role": "user", "content": []}], r"content: text is needed"),
        ([{"role": "user", "content": [{"type": "video"}]}], r"content\[0\]: write .*video"),
        ([shown(3)], r"content\[0\]\.image: a file's path.*found a int"),
        (
            [HELLO, {**shown(b""), "role": "assistant"}, HELLO],
            r"messages\[1\]\.content\[0\]: only a user shows images",
        ),
    ],
)
def test_what_is_wrong_is_said_by_place(messages: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_messages(messages)


def test_a_bad_image_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no picture")
    for path, words in ((tmp_path / "x.jpg", "no picture"), (tmp_path / "y.jpg", "no such file")):
        with pytest.raises(ImageError, match=rf"messages\[0\]\.content\[0\].*{words}"):
            read_messages([shown(path)])
