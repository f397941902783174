"""Small annotations, and teachers that are told what to say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from isthmus.core.config import load
from isthmus.core.contracts import Instance, Scene
from isthmus.core.scene import COCO
from isthmus.synthesize import SynthesisConfig

DOG = {"category": "dog", "bbox": [0.1, 0.2, 0.4, 0.8]}
CAT = {"category": "cat", "bbox": [0.6, 0.2, 0.9, 0.8]}
PLAIN = {"id": "a", "image": "a.jpg", "captions": ["A dog and a cat."], "instances": [DOG, CAT]}


def scene(captions: Iterable[str] = (), **boxes: int) -> Scene:
    """One with so many boxes of each category."""
    instances = tuple(
        Instance(name.replace("_", " "), (i / 20, 0.1, i / 20 + 0.04, 0.2))
        for name, count in boxes.items()
        for i in range(count)
    )
    return Scene("s", "s.jpg", tuple(captions), instances, COCO)


def lines(file: Path, rows: Iterable[Any]) -> Path:
    with file.open("w") as stream:
        stream.writelines(f"{json.dumps(row)}\n" for row in rows)
    return file


def many(count: int) -> list[dict[str, Any]]:
    """Scenes of which no two are alike."""
    return [
        {
            "id": f"s{number:03}",
            "image": f"{number}.jpg",
            "captions": [
                f"A {COCO[number % 80]} near number {number}, which nobody else has seen."
            ],
            "instances": [
                {"category": COCO[(number * 7 + i) % 80], "bbox": [i / 9, 0.1, i / 9 + 0.1, 0.5]}
                for i in range(1 + number % 5)
            ],
        }
        for number in range(count)
    ]


def config(folder: Path, rows: Iterable[Any] = (PLAIN,), **settings: Any) -> SynthesisConfig:
    """A synthesis of these rows by the symbolic teacher, into `folder/out`."""
    made = {
        "scenes": {"path": str(lines(folder / "scenes.jsonl", rows))},
        "teacher": "symbolic",
        "recipes": [{"type": name} for name in ("conversation", "detail", "reasoning")],
        "out": str(folder / "out"),
    }
    return load(SynthesisConfig, made | settings)


def replay(folder: Path, replies: dict[str, Any]) -> dict[str, Any]:
    """A teacher whose replies are these, by request id."""
    rows = [
        {"id": id} | (said if isinstance(said, dict) else {"text": said})
        for id, said in replies.items()
    ]
    return {"type": "replay", "file": str(lines(folder / "replies.jsonl", rows))}


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def reasons(folder: Path) -> dict[str, str]:
    """Job id -> why it is no sample."""
    rows = map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())
    return {row["id"]: row["reason"] for row in rows}
