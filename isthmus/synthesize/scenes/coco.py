"""COCO's own files: `captions_*.json` and `instances_*.json`, both or one of them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Instance, Scene
from isthmus.core.data.records import reason
from isthmus.core.data.rows import read_text
from isthmus.errors import DataError
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes.scenes import Scenes, box_of, vocabulary_of

KINDS = ("captions", "instances")
UNREAD = {"segmentation", "area", "license", "coco_url", "flickr_url", "date_captured"}
"""Most of a file, and nothing that is needed."""


def coco_files(path: Path) -> list[Path]:
    """COCO's files that a path stands for: itself and the other of its name, or those in a folder
    (or its `annotations`). Raises DataError where a folder has several splits."""
    if path.is_file():
        kind = next((kind for kind in KINDS if path.name.startswith(f"{kind}_")), None)
        if kind is None or path.suffix != ".json":
            return []
        others = [path.with_name(path.name.replace(kind, other, 1)) for other in KINDS]
        return [file for file in others if file.exists()]
    found: list[Path] = []
    for folder in (path, path / "annotations"):
        for kind in KINDS:
            files = sorted(folder.glob(f"{kind}_*.json"))
            if len(files) > 1:
                names = ", ".join(file.name for file in files)
                raise DataError(f"{folder}: which of these? Give one of {names}")
            found += files
        if found:
            break
    if len({file.name.split("_", 1)[1] for file in found}) > 1:
        names = " and ".join(file.name for file in found)
        raise DataError(f"{path}: {names} are of different splits; give one of them")
    return found


class CocoScenes(Scenes):
    """Every image that has a caption or a box, in the order of their ids."""

    def __init__(self, files: list[Path], config: ScenesConfig) -> None:
        super().__init__()
        images: dict[int, tuple[str, tuple[int, int]]] = {}
        captions: dict[int, list[tuple[int, str]]] = defaultdict(list)
        instances: dict[int, list[Instance]] = defaultdict(list)
        categories: list[str] = []
        for file in files:
            found = _read(file)
            try:
                for image in found["images"]:
                    size = int(image["width"]), int(image["height"])
                    images[image["id"]] = str(image["file_name"]), size
                if "categories" in found:
                    names = {each["id"]: str(each["name"]) for each in found["categories"]}
                    categories += names.values()
                    self._read_boxes(file, found, names, images, instances)
                else:
                    for each in found["annotations"]:
                        captions[each["image_id"]].append((each["id"], str(each["caption"])))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise DataError(f"{file}: not as COCO writes it ({error!r})") from None
        vocabulary = vocabulary_of(categories, config.vocabulary)
        ids = sorted(images.keys() & (captions.keys() | instances.keys()))
        self._scenes = [
            Scene(
                id=f"{id:012}" if isinstance(id, int) else str(id),
                image=images[id][0],
                captions=tuple(text for _, text in sorted(captions.get(id, ()))),
                instances=tuple(instances.get(id, ())),
                vocabulary=vocabulary,
                size=images[id][1],
            )
            for id in ids[: config.limit]
        ]

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Scene:
        return self._scenes[index]

    def _read_boxes(
        self,
        file: Path,
        found: dict[str, Any],
        names: dict[Any, str],
        images: dict[int, tuple[str, tuple[int, int]]],
        instances: dict[int, list[Instance]],
    ) -> None:
        for each in found["annotations"]:
            width, height = images[each["image_id"]][1]
            left, top, wide, high = each["bbox"]
            shares = (left / width, top / height, (left + wide) / width, (top + high) / height)
            where = f"{file}, annotation {each['id']}"
            if box := box_of(shares, where, self.fixed):
                crowd = bool(each.get("iscrowd", 0))
                category = names[each["category_id"]]
                instances[each["image_id"]].append(Instance(category, box, crowd))


def _read(file: Path) -> dict[str, Any]:
    """The file without what is not needed, let go of while it is parsed."""

    def lean(found: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in found.items() if key not in UNREAD}

    try:
        found = json.loads(read_text(file), object_hook=lean)
    except RecursionError:
        raise DataError(f"{file}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({reason(error)})") from None
    if not isinstance(found, dict):
        raise DataError(f"{file}: one JSON object {{...}} is needed, as COCO has it")
    return found
