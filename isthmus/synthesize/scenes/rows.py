"""Scenes as rows: JSON lines or a JSON list, read when they are asked for, and CSV."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Instance, Scene
from isthmus.core.data.records import Records
from isthmus.core.data.rows import table_rows
from isthmus.errors import DataError, did_you_mean
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes.parcels import Parcels
from isthmus.synthesize.scenes.scenes import Scenes, box_of, vocabulary_of


class RowScenes(Scenes):
    """One scene a row: all are looked at once, and read again when they are asked for."""

    def __init__(self, config: ScenesConfig) -> None:
        super().__init__()
        self.config = config
        self._vocabulary: tuple[str, ...] = ()
        self._categories: dict[str, None] = {}
        self._ids: set[str] = set()

    def look(self, row: Mapping[str, Any], where: str) -> None:
        """At one more row. Raises DataError for one that is no scene, or a second one of its id."""
        scene = scene_of(row, where, self.config, self.fixed, ())
        if scene.id in self._ids:
            raise DataError(f"{where}: the id {scene.id!r} is another scene's, too")
        self._ids.add(scene.id)
        self._categories.update(dict.fromkeys(each.category for each in scene.instances))

    def looked(self) -> None:
        """All were looked at."""
        self._vocabulary = vocabulary_of(list(self._categories), self.config.vocabulary)
        self._ids.clear()

    def read(self, row: Mapping[str, Any], where: str) -> Scene:
        """The scene of a row."""
        return scene_of(row, where, self.config, Counter(), self._vocabulary)


class JsonScenes(RowScenes):
    """One scene a record; the file is read once to be checked, and held by no one."""

    def __init__(self, file: Path, config: ScenesConfig) -> None:
        super().__init__(config)
        self._records = Records(file, config.limit, self.look)
        self.looked()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Scene:
        return self.read(self._records[index], self._records.origin(index))


class TableScenes(Scenes):
    """CSV; rows of one id are one scene, so that a caption a row will do. What a cell has more
    than one of is JSON: ["A dog.", "A cat."]."""

    def __init__(self, file: Path, config: ScenesConfig) -> None:
        super().__init__()
        self.file, self.config = file, config
        self._rows = Parcels()
        categories: dict[str, None] = {}
        for number, row in enumerate(table_rows(file), start=2):
            where = f"{file}, row {number}"
            if number == 2:
                self._check_columns(row.keys())
            if None in row:
                raise DataError(f"{where}: it has more cells than there are columns")
            values = {key: _cell(cell) for key, cell in row.items() if cell}
            scene = scene_of(values, where, config, self.fixed, ())
            categories.update(dict.fromkeys(each.category for each in scene.instances))
            self._rows.add(scene.id, json.dumps(values).encode())
        self._rows.sort()
        self._vocabulary = vocabulary_of(list(categories), config.vocabulary)
        self._ids = list(self._rows.owners())[: config.limit]
        if not self._ids:
            self._check_columns(())

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Scene:
        where, fixed = str(self.file), Counter[str]()
        first, *more = (
            scene_of(json.loads(row), where, self.config, fixed, self._vocabulary)
            for row in self._rows.of(self._ids[index])
        )
        return replace(
            first,
            captions=tuple(text for each in (first, *more) for text in each.captions),
            instances=tuple(box for each in (first, *more) for box in each.instances),
        )

    def _check_columns(self, there: Collection[str]) -> None:
        columns = self.config.columns
        if not {columns.captions, columns.instances} & set(there):
            raise DataError(
                f"{self.file}: it has neither a column {columns.captions!r} nor "
                f"{columns.instances!r}; name one in scenes.columns. Columns: {', '.join(there)}"
            )


def _cell(cell: str) -> Any:
    if not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell  # a caption may begin so


def scene_of(
    row: Mapping[str, Any],
    where: str,
    config: ScenesConfig,
    fixed: Counter[str],
    vocabulary: tuple[str, ...],
) -> Scene:
    """The scene of a row. Raises DataError."""
    columns = config.columns
    image = row.get(columns.image, "")
    id = row.get(columns.id, image)
    if not isinstance(image, str) or not isinstance(id, str | int) or not str(id):
        raise DataError(
            f"{where}: a scene needs {columns.id!r} or {columns.image!r}, each a string; found "
            f"{dict(row)!s:.80}.{did_you_mean(columns.image, row)}"
        )
    said = row.get(columns.captions) or []
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, list) or not all(isinstance(caption, str) for caption in said):
        raise DataError(f"{where}: {columns.captions!r} is a list of strings; found {said!r:.60}")
    size = _size(row, config)
    listed = row.get(columns.instances) or []
    if not isinstance(listed, list):
        raise DataError(f"{where}: {columns.instances!r} is a list; found {listed!r:.60}")
    instances = tuple(
        made for each in listed if (made := _instance(each, where, config, fixed, size))
    )
    captions = tuple(caption for caption in said if caption.strip())
    return Scene(str(id), image, captions, instances, vocabulary, size)


def _size(row: Mapping[str, Any], config: ScenesConfig) -> tuple[int, int] | None:
    try:
        width, height = int(row[config.columns.width]), int(row[config.columns.height])
    except (KeyError, TypeError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _instance(
    each: Any,
    where: str,
    config: ScenesConfig,
    fixed: Counter[str],
    size: tuple[int, int] | None,
) -> Instance | None:
    try:
        category = each["category"]
        numbers = [float(number) for number in each["bbox"]]
        crowd = bool(each.get("crowd", each.get("iscrowd", False)))
    except (KeyError, TypeError, ValueError, AttributeError):
        category, numbers, crowd = None, [], False
    if not isinstance(category, str) or len(numbers) != 4 or any(n != n for n in numbers):
        raise DataError(
            f"{where}: an instance is {{category: name, bbox: [left, top, right, bottom]}}; found "
            f"{each!r:.80}"
        )
    if config.boxes != "shares":
        if size is None:
            raise DataError(
                f"{where}: boxes in pixels need the picture's size, in columns "
                f"{config.columns.width!r} and {config.columns.height!r}"
            )
        if config.boxes == "pixels_width_height":
            numbers[2:] = [numbers[0] + numbers[2], numbers[1] + numbers[3]]
        numbers = [number / size[index % 2] for index, number in enumerate(numbers)]
    box = box_of(numbers, where, fixed)
    return None if box is None else Instance(category, box, crowd)
