"""Which reader a path is for."""

from __future__ import annotations

from pathlib import Path

from isthmus.errors import DataError
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes.coco import CocoScenes, coco_files
from isthmus.synthesize.scenes.datasets import DatasetScenes
from isthmus.synthesize.scenes.rows import JsonScenes, TableScenes
from isthmus.synthesize.scenes.scenes import Scenes


def open_scenes(config: ScenesConfig) -> Scenes:
    """The scenes of a file, folder or dataset. Raises DataError naming what cannot be read."""
    path = config.path
    if path is None:
        return DatasetScenes(config)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder of scenes")
    if files := coco_files(path):
        return CocoScenes(files, config)
    if path.is_dir():
        raise DataError(
            f"{path}: neither captions_*.json nor instances_*.json is in it; for rows, name the "
            f"file: {_names(path)}"
        )
    if path.suffix.lower() == ".csv":
        return TableScenes(path, config)
    return JsonScenes(path, config)


def _names(folder: Path) -> str:
    found = [p.name for p in sorted(folder.iterdir()) if p.suffix in (".jsonl", ".json", ".csv")]
    return ", ".join(found[:8]) or "there is none of .jsonl, .json or .csv"
