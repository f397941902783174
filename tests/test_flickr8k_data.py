"""Flickr8k made ready: which views and captions go together, and what is held out."""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat

SCRIPT = Path(__file__).parents[1] / "examples" / "flickr8k_data.py"
PHOTOS = 6


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos as grey as their number, and their five captions."""
    folder = tmp_path_factory.mktemp("flickr8k")
    rows = []
    with zipfile.ZipFile(folder / "images_192.zip", "w") as archive:
        for number in range(PHOTOS):
            stream = io.BytesIO()
            Image.new("RGB", (192, 192), (40 * number,) * 3).save(stream, "JPEG")
            archive.writestr(f"images/{number}.jpg", stream.getvalue())
            captions = [f"Photo {number} caption {which} ." for which in range(5)]
            rows.append({"image": f"{number}.jpg", "captions": captions})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def prepare(*given: Any) -> dict[str, int]:
    spec = importlib.util.spec_from_file_location("flickr8k_data", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    counts: dict[str, int] = module.prepare(*given)
    return counts


@pytest.mark.parametrize("views", [1, 2, 3])
def test_every_caption_goes_with_so_many_views_of_its_photo(
    source: Path, tmp_path: Path, views: int
) -> None:
    assert prepare(source, tmp_path, 0, 2, views) == {"validation": 10, "train": 20 * views}
    parts = {}
    for part in ("train", "validation"):
        records = json.loads((tmp_path / f"{part}.json").read_text())
        assert len({record["id"] for record in records}) == len(records)
        said: dict[str, set[str]] = {}
        for record in records:
            caption = record["conversations"][1]["value"]
            said.setdefault(caption, set()).add(record["image"])
            shade = ImageStat.Stat(Image.open(tmp_path / "images" / record["image"])).mean[0]
            assert int(caption.split()[1]) == round(shade / 40)
        assert {len(images) for images in said.values()} == {views if part == "train" else 1}
        parts[part] = {caption.split()[1] for caption in said}
    assert len(parts["train"]) == 4
    assert not parts["train"] & parts["validation"]
