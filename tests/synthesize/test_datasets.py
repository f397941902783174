"""Datasets of Hugging Face's library are scenes: folders of Parquet, and what was saved to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import ConfigError, DataError
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes import open_scenes
from tests.synthesize.toys import CAT, DOG, PLAIN, config, samples

datasets = pytest.importorskip("datasets", reason="needs isthmus[datasets]")

ROWS = [PLAIN, {"id": "b", "image": "b.jpg", "captions": ["Two boats."], "instances": [CAT, DOG]}]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and a cache of this test's own."""
    import datasets.config as settings

    monkeypatch.setattr(settings, "HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setattr(settings, "HF_DATASETS_CACHE", tmp_path / "cache")


def opened(place: Path, **settings: Any) -> list[Any]:
    return list(open_scenes(ScenesConfig(dataset=str(place), **settings)))


def saved(folder: Path, how: str, rows: Any, features: Any = None) -> Path:
    """A dataset of these rows, in one of the forms in which they lie on disks."""
    made = datasets.Dataset.from_list(rows, features=features)
    if how == "parquet":
        folder.mkdir()
        made.to_parquet(folder / "train-00000-of-00001.parquet")
    elif how == "splits":
        datasets.DatasetDict({"train": made, "test": made.select([0])}).save_to_disk(folder)
    else:
        made.save_to_disk(folder)
    return folder


@pytest.mark.parametrize("how", ["parquet", "arrow", "splits"])
def test_a_dataset_is_the_scenes_of_its_rows(tmp_path: Path, how: str):
    from tests.synthesize.toys import lines

    found = opened(saved(tmp_path / "set", how, ROWS))
    assert found == list(open_scenes(ScenesConfig(path=lines(tmp_path / "x.jsonl", ROWS))))
    assert found[0].instances[0].box == (0.1, 0.2, 0.4, 0.8)
    assert len(opened(tmp_path / "set", limit=1)) == 1


def test_a_split_is_named_and_one_that_is_not_there_is_said(tmp_path: Path):
    place = saved(tmp_path / "set", "splits", ROWS)
    assert [scene.id for scene in opened(place, split="test")] == ["a"]
    with pytest.raises(DataError, match=r"split 'val': .*splits are train, test"):
        opened(place, split="val")


def test_columns_have_any_name_and_rows_without_an_id_their_number(tmp_path: Path):
    rows = [{"text": "A dog.", "n": 1}, {"text": "A cat.", "n": 2}]
    found = opened(saved(tmp_path / "set", "arrow", rows), columns={"captions": "text"})
    assert [(scene.id, scene.captions) for scene in found] == [
        ("0", ("A dog.",)),
        ("1", ("A cat.",)),
    ]
    with pytest.raises(DataError, match=r"neither a column 'captions' .* Columns: text, n"):
        opened(tmp_path / "set")


def test_pictures_are_named_and_not_decoded_and_numbered_categories_get_their_names(tmp_path: Path):
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen/a.png").write_bytes(b"no picture at all")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": {
                "category": datasets.List(datasets.ClassLabel(names=["cat", "dog"])),
                "bbox": datasets.List(datasets.List(datasets.Value("float64"))),
            },
        }
    )
    objects = {"category": [1, 0], "bbox": [DOG["bbox"], CAT["bbox"]]}
    rows = [{"image": {"path": str(tmp_path / "seen/a.png"), "bytes": None}, "objects": objects}]
    place = saved(tmp_path / "set", "arrow", rows, features)
    (found,) = opened(place, columns={"instances": "objects"})
    assert found.image == "a.png"
    assert [each.category for each in found.instances] == ["dog", "cat"]
    assert found.instances[1].box == tuple(CAT["bbox"])


def test_a_row_that_is_no_scene_is_named(tmp_path: Path):
    wrong = {"id": "c", "image": "", "captions": [], "instances": [DOG | {"bbox": [3.0, 4, 5, 6]}]}
    with pytest.raises(DataError, match=r"row 1: the box .* is not in the picture"):
        opened(saved(tmp_path / "set", "arrow", [PLAIN, wrong]))


def test_a_relative_folder_is_taken_from_the_yamls(tmp_path: Path):
    from isthmus.core.config import load
    from isthmus.synthesize import SynthesisConfig

    saved(tmp_path / "set", "arrow", ROWS)
    yaml = tmp_path / "c.yaml"
    yaml.write_text("scenes: {dataset: set}\nteacher: symbolic\n")
    assert load(SynthesisConfig, yaml).scenes.dataset == str(tmp_path / "set")
    yaml.write_text("scenes: {dataset: someone/some-set}\nteacher: symbolic\n")
    assert load(SynthesisConfig, yaml).scenes.dataset == "someone/some-set"


def test_the_verb_makes_samples_of_a_dataset(tmp_path: Path):
    from isthmus.synthesize import synthesize
    from isthmus.synthesize.verify import verify

    place = saved(tmp_path / "set", "arrow", ROWS)
    made = config(tmp_path, scenes={"dataset": str(place)})
    synthesize(made)
    assert {row["image"] for row in samples(made.out)} == {"a.jpg", "b.jpg"}
    assert verify(made.out) == len(samples(made.out))


def test_scenes_are_from_one_place(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"scenes\.path: name a file of scenes"):
        config(tmp_path, scenes={})
    with pytest.raises(ConfigError, match=r"scenes\.dataset: .* leave one out"):
        config(tmp_path, scenes={"path": "x.jsonl", "dataset": "y"})
