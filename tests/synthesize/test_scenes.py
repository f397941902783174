"""Scenes are read from COCO's files, rows and tables alike; what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.scene import COCO
from isthmus.errors import DataError
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes import open_scenes
from tests.synthesize.toys import CAT, DOG, PLAIN, lines

IMAGES = [
    {"id": 7, "file_name": "7.jpg", "width": 200, "height": 100},
    {"id": 9, "file_name": "9.jpg", "width": 100, "height": 100},
]
BOXES = {
    "images": IMAGES,
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [20, 10, 50, 40], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [5, 5, 0, 3], "iscrowd": 0},
    ],
}
CAPTIONS = {
    "images": IMAGES,
    "annotations": [
        {"id": 12, "image_id": 7, "caption": "Second."},
        {"id": 11, "image_id": 7, "caption": "First."},
        {"id": 13, "image_id": 9, "caption": "Other."},
    ],
}


def opened(path: Path, **settings: Any) -> Any:
    return open_scenes(ScenesConfig(path=path, **settings))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "captions_val.json").write_text(json.dumps(CAPTIONS))
    (tmp_path / "instances_val.json").write_text(json.dumps(BOXES))
    return tmp_path


@pytest.mark.parametrize("name", ["", "captions_val.json", "instances_val.json"])
def test_coco_is_read_from_the_folder_or_either_file(coco: Path, name: str):
    found = opened(coco / name)
    assert [scene.id for scene in found] == ["000000000007", "000000000009"]
    first = found[0]
    assert first.captions == ("First.", "Second.")
    # By hand: 20/200, 10/100, (20+50)/200, (10+40)/100.
    assert [(i.category, i.box, i.crowd) for i in first.instances] == [
        ("dog", (0.1, 0.1, 0.35, 0.5), False),
        ("person", (0.0, 0.0, 1.0, 1.0), True),
    ]
    assert first.size == (200, 100)
    assert first.vocabulary == COCO
    assert found.fixed == {"boxes without size left out": 1}


@pytest.mark.parametrize(("gone", "left"), [("captions", (0, 2)), ("instances", (2, 0))])
def test_captions_only_and_boxes_only_are_enough(coco: Path, gone: str, left: tuple[int, int]):
    (coco / f"{gone}_val.json").unlink()
    first = opened(coco)[0]
    assert (len(first.captions), len(first.instances)) == left


def test_a_folder_with_two_splits_is_refused(coco: Path):
    (coco / "captions_train.json").write_text(json.dumps(CAPTIONS))
    with pytest.raises(DataError, match=r"captions_train\.json, captions_val\.json"):
        opened(coco)


def test_rows_are_scenes(tmp_path: Path):
    rows = [PLAIN, {"image": "b.jpg", "captions": "One caption."}, {"id": 3, "instances": [DOG]}]
    found = list(opened(lines(tmp_path / "x.jsonl", rows)))
    assert [scene.id for scene in found] == ["a", "b.jpg", "3"]
    assert found[1].captions == ("One caption.",)
    assert found[2].instances[0].box == (0.1, 0.2, 0.4, 0.8)
    assert len(opened(tmp_path / "x.jsonl", limit=2)) == 2


def test_columns_may_have_other_names(tmp_path: Path):
    row = {"key": "k", "file": "k.png", "texts": ["A."], "things": [CAT]}
    columns = {"id": "key", "image": "file", "captions": "texts", "instances": "things"}
    (found,) = opened(lines(tmp_path / "x.jsonl", [row]), columns=columns)
    assert (found.id, found.image, found.captions) == ("k", "k.png", ("A.",))
    assert found.instances[0].category == "cat"


def test_boxes_in_pixels_become_shares(tmp_path: Path):
    row = {"id": "p", "width": 300, "height": 200, "instances": [{"category": "dog"}]}
    row["instances"][0]["bbox"] = [30, 20, 100, 50]  # type: ignore[index]
    file = lines(tmp_path / "x.jsonl", [row])
    assert opened(file, boxes="pixels")[0].instances[0].box == (0.1, 0.1, 0.333, 0.25)
    wide = opened(file, boxes="pixels_width_height")[0].instances[0].box
    assert wide == (0.1, 0.1, 0.433, 0.35)


def test_rows_of_a_table_with_one_image_are_one_scene(tmp_path: Path):
    file = tmp_path / "x.csv"
    file.write_text('image,captions,instances\na.jpg,"A dog, here.",\na.jpg,Two.,\nb.jpg,,'
                    '"[{""category"": ""cup"", ""bbox"": [0, 0, 1, 1]}]"\n')  # fmt: skip
    first, second = opened(file)
    assert first.captions == ("A dog, here.", "Two.")
    assert second.instances[0].category == "cup"


def test_rows_of_a_table_may_lie_apart(tmp_path: Path):
    file = tmp_path / "x.csv"
    file.write_text("id,captions\nb,One.\na,Two.\nb,Three.\n")
    found = opened(file)
    assert [(s.id, s.captions) for s in found] == [("b", ("One.", "Three.")), ("a", ("Two.",))]
    assert [scene.id for scene in opened(file, limit=1)] == ["b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,captions\na,One.\nb,Two,three.\n", "row 3: it has more cells"),
        ("id,said\na,One.\n", "neither a column 'captions' nor 'instances'; .* Columns: id, said"),
        ("", "neither a column 'captions'"),
        ("id,captions\n\xff,One.\n", "not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, text: str, said: str):
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=said):
        opened(tmp_path / "x.csv")


def test_the_vocabulary_is_what_the_file_has_where_that_is_not_cocos(tmp_path: Path):
    digit = {"category": "7", "bbox": [0, 0, 0.5, 0.5]}
    rows = [{"id": 1, "instances": [digit]}, {"id": 2, "instances": [DOG]}]
    assert opened(lines(tmp_path / "x.jsonl", rows))[0].vocabulary == ("7", "dog")
    given = opened(tmp_path / "x.jsonl", vocabulary=("dog", "emu"))
    assert given[1].vocabulary == ("dog", "emu")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "x", "instances": [{"category": "dog", "bbox": [10, 20, 40, 80]}]}, "pixels"),
        (
            {"id": "x", "instances": [{"category": "dog", "bbox": [0.5, 0.1, 0.2, 0.2]}]},
            "left, top",
        ),
        ({"id": "x", "instances": [{"category": "dog", "bbox": [0.1, 0.2]}]}, "category: name"),
        ({"id": "x", "instances": ["dog"]}, "category: name"),
        ({"id": "x", "instances": "dog"}, "is a list"),
        ({"id": "x", "captions": [3]}, "list of strings"),
        ({"imag": "x.jpg"}, "needs 'id' or 'image'"),
        ({"id": "a", "captions": ["again"]}, "another scene's"),
    ],
)
def test_what_is_wrong_with_a_row_is_named_with_its_line(tmp_path: Path, row: Any, said: str):
    file = lines(tmp_path / "x.jsonl", [PLAIN, row])
    with pytest.raises(DataError, match=said) as caught:
        opened(file)
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"), [("gone.jsonl", "no such file"), ("empty", "neither captions")]
)
def test_what_is_not_there_is_said(tmp_path: Path, name: str, said: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=said):
        opened(tmp_path / name)
