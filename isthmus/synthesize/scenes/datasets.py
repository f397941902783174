"""Scenes of a dataset of Hugging Face's library, by the names of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Scene
from isthmus.errors import DataError, InputError, did_you_mean
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes.rows import RowScenes

SAVED = ("state.json", "dataset_dict.json")
"""What `save_to_disk` leaves of a dataset, and of several splits."""


class DatasetScenes(RowScenes):
    """One scene a row. Pictures in the dataset are not decoded: scenes name them, and no more. A
    scene that nothing names has its row's number."""

    def __init__(self, config: ScenesConfig) -> None:
        super().__init__(config)
        self._rows, self._labels = _opened(config)
        for index in range(len(self)):
            self.look(self._row(index), self._where(index))
        self.looked()

    def __len__(self) -> int:
        rows = len(self._rows)
        return rows if self.config.limit is None else min(rows, self.config.limit)

    def __getitem__(self, index: int) -> Scene:
        return self.read(self._row(index), self._where(index))

    def _where(self, index: int) -> str:
        return f"{self.config.dataset}, row {index}"

    def _row(self, index: int) -> Mapping[str, Any]:
        row, columns = dict(self._rows[index]), self.config.columns
        picture = row.get(columns.image)
        if isinstance(picture, Mapping):  # a column of pictures: where one came from
            row[columns.image] = Path(str(picture.get("path") or "")).name
        row[columns.image] = row.get(columns.image) or ""
        if row.get(columns.id) is None and not row[columns.image]:
            row[columns.id] = index
        listed = row.get(columns.instances)
        if isinstance(listed, Mapping):  # a list of structs may come as a struct of lists
            listed = [
                dict(zip(listed, each, strict=True)) for each in zip(*listed.values(), strict=True)
            ]
        if isinstance(listed, list):
            row[columns.instances] = [self._named(each) for each in listed]
        return row

    def _named(self, instance: Any) -> Any:
        """With the category's name where the dataset has its number."""
        number = instance.get("category") if isinstance(instance, Mapping) else None
        if not self._labels or not isinstance(number, int):
            return instance
        return {**instance, "category": self._labels[number]}


def _opened(config: ScenesConfig) -> tuple[Any, list[str]]:
    """The columns that are read, undecoded, and the names of numbered categories."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "scenes.dataset: needs the library datasets: pip install 'isthmus[datasets]'"
        ) from None
    name, split = str(config.dataset), config.split
    try:
        found = _loaded(datasets, Path(name).expanduser(), name, split)
    except Exception as error:  # the library raises whatever it meets
        said = " ".join(str(error).split())
        raise DataError(f"scenes.dataset: {name}, split {split!r}: {said:.300}") from None
    columns = config.columns
    wanted = [column for column in columns.model_dump().values() if column in found.column_names]
    if not {columns.captions, columns.instances} & set(wanted):
        raise DataError(
            f"{name}: it has neither a column {columns.captions!r} nor {columns.instances!r}; name "
            f"one in scenes.columns. Columns: {', '.join(found.column_names)}."
            f"{did_you_mean(columns.captions, found.column_names)}"
        )
    found = found.select_columns(wanted)
    if isinstance(found.features.get(columns.image), datasets.Image):
        found = found.cast_column(columns.image, datasets.Image(decode=False))
    labels = _labels(found.features.get(columns.instances))
    return found, next((label.names for label in labels if hasattr(label, "names")), [])


def _loaded(datasets: Any, folder: Path, name: str, split: str) -> Any:
    if any((folder / file).is_file() for file in SAVED):
        found = datasets.load_from_disk(str(folder))
        if isinstance(found, datasets.DatasetDict):
            if split not in found:
                raise KeyError(f"its splits are {', '.join(found)}")
            return found[split]
        return found
    return datasets.load_dataset(str(folder) if folder.exists() else name, split=split)


def _labels(feature: Any) -> Iterator[Any]:
    """The features of categories in a column of instances, however lists and structs are nested."""
    if isinstance(feature, Mapping):
        yield from (inner for key, inner in feature.items() if key == "category")
        for inner in feature.values():
            yield from _labels(inner)
    elif isinstance(feature, list):
        for inner in feature:
            yield from _labels(inner)
    elif (inner := getattr(feature, "feature", None)) is not None:
        if hasattr(inner, "names"):
            yield inner
        yield from _labels(inner)
