"""Questions about videos: which frames stand where, as the source `video` has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.assistant.questions import Question as Asked
from isthmus.errors import DataError
from isthmus.plugins.benchmarks.video_qa import VideoQa
from isthmus.plugins.sources.video import Video
from isthmus.testing import check_benchmark


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    for number in range(9):
        Image.new("RGB", (4, 4)).save(tmp_path / "a" / f"{number}.png")
    return tmp_path


def config(clips: Path, *rows: dict[str, Any], **fields: Any) -> VideoQa.Config:
    (clips / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return VideoQa.Config(data=clips / "asked.jsonl", **fields)


def row(text: str = "<video>\nWhich way?", **fields: Any) -> dict[str, Any]:
    return {"question_id": 1, "video": "a", "text": text, "answer": "left"} | fields


@pytest.mark.parametrize("frames", [1, 3, 20])
@pytest.mark.parametrize("timestamps", [True, False])
def test_a_model_is_asked_as_it_was_taught(clips: Path, frames: int, timestamps: bool) -> None:
    settings: Any = {"frames": frames, "fps": 2, "timestamps": timestamps}
    (question,) = config(clips, row(), **settings).build().questions()
    files = tuple(clips / name for name in question.images)
    asked = Asked(question.id, question.prompt, files, question.images).conversation()
    turns = [{"from": "human", "value": row()["text"]}, {"from": "gpt", "value": "left"}]
    (clips / "train.json").write_text(json.dumps([{"video": "a", "conversations": turns}]))
    source = Video.Config(file=clips / "train.json", images=clips, **settings).build()
    taught = source[0]
    assert asked.turns[0].role == "user"
    pieces = tuple(piece for piece in asked.turns[0].content if piece != "")
    assert pieces == taught.turns[0].content
    assert [file.resolve() for file in asked.pictures] == list(taught.images)


def test_a_video_that_the_text_does_not_place_stands_before_it(clips: Path) -> None:
    placed, bare = (
        config(clips, row(text), frames=2).build().questions()[0].prompt
        for text in ("<video>\nWhich way?", "Which way?")
    )
    assert placed == bare == "2.00s: <image>\n6.00s: <image>\nWhich way?"


def test_it_conforms(clips: Path) -> None:
    check_benchmark(config(clips, row(), row(question_id=2, answer=["up", "Upwards"])))


@pytest.mark.parametrize(
    ("rule", "reply", "right"),
    [
        ("equals", " Left. ", 1),
        ("equals", "west, east: left", 0),
        ("contains", "west, east: left", 1),
        ("contains", "It turns leftwards.", 0),
        ("contains", "", 0),
    ],
)
def test_what_makes_an_answer_right(clips: Path, rule: Any, reply: str, right: int) -> None:
    benchmark = config(clips, row(), rule=rule).build()
    outcome = benchmark.outcome(benchmark.questions()[0], reply)
    assert (outcome.right, outcome.is_valid) == (right, bool(reply))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (row(video="b"), "there is no folder of frames .*b"),
        (row("<video> or <video>?"), "with <video> once, or not at all"),
        (row(text=7), "`text` is what is asked"),
        (row(video=None), "an image is the path of a file"),
        (row(fps=-1), "`fps` is a number"),
    ],
)
def test_a_wrong_row_is_named(clips: Path, wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=f"asked.jsonl, line 1: .*{why}"):
        config(clips, wrong).build().questions()
