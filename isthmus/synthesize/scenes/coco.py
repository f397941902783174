"""COCO's own files: `captions_*.json` and `instances_*.json`, both or one of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Instance, Scene
from isthmus.core.data.pieces import listed
from isthmus.errors import DataError
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes.parcels import Parcels
from isthmus.synthesize.scenes.scenes import Scenes, box_of, vocabulary_of

KINDS = ("captions", "instances")
ID, BOX = struct.Struct("<q"), struct.Struct("<4HH?")
"""How a caption's id and an instance are kept: four edges in thousandths, category, crowd."""
THOUSAND = 1000


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
    """Every image that has a caption or a box, in the order of their ids. The files are read in
    pieces, and what is needed of them is kept as bytes: of COCO's own, a tenth of their size."""

    def __init__(self, files: list[Path], config: ScenesConfig) -> None:
        super().__init__()
        self._images: dict[Any, tuple[str, int, int]] = {}
        self._captions, self._boxes = Parcels(), Parcels()
        self._categories: list[str] = []
        self._named: list[str] = []
        for file in files:
            try:
                for _, image in listed(file, ["images"]):
                    size = int(image["width"]), int(image["height"])
                    self._images[image["id"]] = str(image["file_name"]), *size
                if file.name.startswith("instances"):
                    self._read_boxes(file)
                else:
                    for _, each in listed(file, ["annotations"]):
                        text = str(each["caption"]).encode("utf-8", "surrogatepass")
                        self._captions.add(each["image_id"], ID.pack(int(each["id"])) + text)
            except (KeyError, TypeError, AttributeError, ValueError, struct.error) as error:
                raise DataError(f"{file}: not as COCO writes it ({error!r})") from None
        self._captions.sort()
        self._boxes.sort()
        self._vocabulary = vocabulary_of(self._categories, config.vocabulary)
        there = self._captions.owners() | self._boxes.owners()
        self._ids = sorted(self._images.keys() & there)[: config.limit]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Scene:
        id = self._ids[index]
        name, width, height = self._images[id]
        captions = sorted((ID.unpack(c[: ID.size]), c[ID.size :]) for c in self._captions.of(id))
        return Scene(
            id=f"{id:012}" if isinstance(id, int) else str(id),
            image=name,
            captions=tuple(text.decode("utf-8", "surrogatepass") for _, text in captions),
            instances=tuple(self._instance(each) for each in self._boxes.of(id)),
            vocabulary=self._vocabulary,
            size=(width, height),
        )

    def _read_boxes(self, file: Path) -> None:
        numbers: dict[Any, int] = {}
        """Category id -> its number in the order in which they are met."""
        names: dict[Any, str] = {}
        for what, each in listed(file, ["annotations", "categories"]):
            if what == "categories":
                names[each["id"]] = str(each["name"])
                continue
            _, width, height = self._images[each["image_id"]]
            left, top, wide, high = each["bbox"]
            shares = (left / width, top / height, (left + wide) / width, (top + high) / height)
            if box := box_of(shares, f"{file}, annotation {each['id']}", self.fixed):
                number = numbers.setdefault(each["category_id"], len(numbers))
                edges = (round(edge * THOUSAND) for edge in box)
                crowd = bool(each.get("iscrowd", 0))
                self._boxes.add(each["image_id"], BOX.pack(*edges, number, crowd))
        self._named = [names[id] for id in numbers]
        self._categories += names.values()

    def _instance(self, packed: bytes) -> Instance:
        left, top, right, bottom, number, crowd = BOX.unpack(packed)
        box = left / THOUSAND, top / THOUSAND, right / THOUSAND, bottom / THOUSAND
        return Instance(self._named[number], box, crowd)
