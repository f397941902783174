"""The demo's data in a folder: scenes under `data`, and what they teach under `instruct`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jobs import console, isthmus, settings
from scenes import write as write_scenes

HERE = Path(__file__).resolve().parent
SCENES = 8000
QUESTIONS = 500


def make_data(
    folder: Path, scenes: int = SCENES, questions: int = QUESTIONS, seed: int = 0
) -> None:
    """Both, as far as they are not whole already."""
    data, unfinished = folder / "data", folder / "data.tmp"
    if not data.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        with console.status("make scenes of handwritten digits, and what a teacher says of them"):
            write_scenes(unfinished, train=scenes, tests=questions, seed=seed)
        unfinished.rename(data)
    if not (folder / "instruct" / "samples.jsonl").exists():
        synthesize(folder)


def synthesize(folder: Path, *options: str, out: Path | None = None) -> None:
    """Make instruction data of what the teacher says of the scenes' annotation."""
    data = folder.resolve() / "data"
    places = {
        "scenes.path": data / "annotations.json",
        "scenes.images": data / "images",
        "teacher.file": data / "replies.jsonl",
    }
    where = ("--out", str(out or folder / "instruct"))
    isthmus("synthesize", str(HERE / "synthesize.yaml"), *settings(places), *options, *where)


def planned(yaml: str = "demo.yaml") -> Any:
    """The run of a YAML beside this file."""
    from isthmus.core.config import load
    from isthmus.core.train.config import RunConfig

    return load(RunConfig, HERE / yaml)


def data_at(folder: Path, yaml: str = "demo.yaml") -> list[str]:
    """Settings that have such a run read its data from this folder."""
    places = {}
    for number, stage in enumerate(planned(yaml).stages):
        for at, source in enumerate(stage.data):
            where = f"stages.{number}.data.{at}"
            places[f"{where}.file"] = folder.resolve() / source.file.parent.name / source.file.name
            places[f"{where}.images"] = folder.resolve() / "data" / "images"
    return settings(places)
