"""Videos as folders of frames: which are taken, where they stand, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.contracts import ImageSlot
from isthmus.core.data.frames import sampled
from isthmus.core.data.images import open_picture
from isthmus.errors import DataError, ImageError
from isthmus.plugins.sources.video import Video
from isthmus.testing import check_source


def film(folder: Path, count: int, name: str = "{}.png") -> Path:
    """A folder of frames, the n-th of them n + 1 pixels wide."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (number + 1, 4)).save(folder / name.format(number))
    return folder


def record(video: Any = "clips/a", said: str = "<video>\nWhat?", **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": said}, {"from": "gpt", "value": "Left."}]
    return {
        "id": "7",
        "conversations": turns,
        **({} if video is None else {"video": video}),
        **more,
    }


def config(folder: Path, *records: dict[str, Any], **fields: Any) -> Video.Config:
    file = folder / "train.json"
    file.write_text(json.dumps(list(records)))
    return Video.Config(file=file, images=folder, **fields)


def numbers(source: Video, index: int = 0) -> list[int]:
    """Which frames a sample has, by their width."""
    return [open_picture(picture).width - 1 for picture in source[index].images]


def test_frames_are_the_middles_of_stretches_of_equal_length() -> None:
    assert sampled(10, 5) == [1, 3, 5, 7, 9]
    assert sampled(9, 3) == [1, 4, 7]
    assert sampled(9, 1) == [4]
    assert sampled(3, 8) == sampled(3, 3) == [0, 1, 2]
    for count in range(1, 60):
        for wanted in range(1, 20):
            found = sampled(count, wanted)
            assert len(found) == min(count, wanted) == len(set(found))
            assert found == sorted(found)
            middles = [(part + 0.5) * count / wanted for part in range(wanted)]
            if count > wanted:
                assert all(abs(f + 0.5 - m) <= 0.5 for f, m in zip(found, middles, strict=True))


def test_frames_stand_where_the_video_does_each_behind_its_second(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a", 12)
    source = config(tmp_path, record(said="Look: <video>\nWhat?", fps=4), frames=3).build()
    assert numbers(source) == [2, 6, 10]
    assert source[0].turns[0].content == (
        "Look: 0.50s: ",
        ImageSlot(0),
        "\n1.50s: ",
        ImageSlot(1),
        "\n2.50s: ",
        ImageSlot(2),
        "\nWhat?",
    )
    assert source[0].turns[1].text == "Left."


def test_without_timestamps_frames_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a", 2)
    source = config(tmp_path, record(), timestamps=False).build()
    assert source[0].turns[0].content == (ImageSlot(0), "\n", ImageSlot(1), "\nWhat?")


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a", 12, "frame_{}.PNG")
    (tmp_path / "clips" / "a" / "notes.txt").write_text("not a frame")
    (tmp_path / "clips" / "a" / "._frame_1.png").write_text("not one either")
    assert numbers(config(tmp_path, record(), frames=12).build()) == list(range(12))


def test_a_list_of_files_is_a_video_too(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a", 3)
    names = [f"clips/a/{number}.png" for number in (2, 0, 1)]
    source = config(tmp_path, record(names), record(None, "Hello?")).build()
    assert numbers(source) == [2, 0, 1]
    assert source[1].images == ()


def test_it_conforms_and_other_frames_are_other_data(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a", 5)
    same = config(tmp_path, record(), record(None, "Hello?"), frames=3)
    check_source(same, same.model_copy(update={"frames": 2}))
    before = same.build().fingerprint
    assert same.build().fingerprint == before
    Image.new("RGB", (9, 9)).save(tmp_path / "clips" / "a" / "0_new.png")
    assert same.build().fingerprint != before
    stream = tmp_path / "train.jsonl"
    stream.write_text(json.dumps(record()) + "\n")
    check_source(Video.Config(file=stream, images=tmp_path, stream=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (record("clips/none"), "record 1: there is no folder of frames .*none"),
        (record("clips/empty"), "record 1: no frame in .*empty; they end in"),
        (record("clips/a/0.png"), r"is a file; a video is a folder of frames.*ffmpeg"),
        (record([]), r"`video` is a list"),
        (record("../clips/a"), "leaves the `images` folder"),
        (record(7), "path of a file as text"),
        (record(said="What?"), "a video, but 0 <video>"),
        (record(said="<video><video>"), "a video, but 2 <video>"),
        (record(None), "no video, but 1 <video>"),
        (record(fps=0), "`fps` is a number of frames a second; found 0"),
        (record(fps="fast"), "`fps` is a number"),
        (record(image="a.png"), "it names an image.*source `llava`"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    film(tmp_path / "clips" / "a", 2)
    (tmp_path / "clips" / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        config(tmp_path, wrong).build()


def test_a_frame_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a", 2)
    (tmp_path / "clips" / "a" / "1.png").write_bytes(b"no picture")
    sample = config(tmp_path, record()).build()[0]
    with pytest.raises(ImageError, match=r"record 1: .*1\.png: no picture"):
        open_picture(sample.images[1], sample.origin)


def test_without_a_folder_of_videos_it_says_what_to_give(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    file.write_text(json.dumps([record()]))
    with pytest.raises(DataError, match="it names a video; give `images`"):
        Video.Config(file=file).build()
