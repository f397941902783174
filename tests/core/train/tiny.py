"""A run small enough for a test: coloured squares, one word each, and parts of a few thousand
weights, written to a folder as a user would."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = ("red", "green", "blue", "white", "black", "orange", "purple", "yellow")

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
LLAMA = {
    "type": "causal",
    "tokenizer": {"vocab_size": 300},
    "config": SHAPE | {"model_type": "llama"},
}
CLIP = {"type": "clip", "config": SHAPE | {"image_size": 8, "patch_size": 4}}


def write_data(folder: Path, count: int = 16, text_only: int = 0) -> Path:
    """`data.json` with one coloured picture a record, and then records without pictures."""
    (folder / "pictures").mkdir(parents=True)
    records = []
    for index in range(count):
        colour = COLOURS[index % len(COLOURS)]
        Image.new("RGB", (8 + index % 3, 8), colour).save(folder / "pictures" / f"{index}.png")
        question = "<image>\nWhat colour is it?" + " Tell me." * (index % 3)
        records.append(record(f"p{index}", question, f"It is {colour}.", image=f"{index}.png"))
    records += [
        record(f"t{index}", "What comes next?", "Nothing " * (index + 1))
        for index in range(text_only)
    ]
    file = folder / "data.json"
    file.write_text(json.dumps(records))
    return file


def record(id: str, question: str, answer: str, **more: Any) -> dict[str, Any]:
    """One record as LLaVA writes it."""
    said = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": id, "conversations": said, **more}


def source(folder: Path) -> dict[str, Any]:
    """What `write_data` wrote, as a source."""
    return {"type": "llava", "file": str(folder / "data.json"), "images": str(folder / "pictures")}


def stage(folder: Path, **fields: Any) -> dict[str, Any]:
    """A stage on that source."""
    values: dict[str, Any] = {
        "name": "align",
        "train": {"connector": "full"},
        "data": [source(folder)],
        "batch": {"samples": 4},
        "optimizer": {"lr": 3e-3},
        "steps": 4,
    }
    return values | fields


def tiny_run(folder: Path, *stages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A run over `write_data(folder)`, as YAML would give it."""
    values: dict[str, Any] = {
        "model": copy.deepcopy({"encoder": CLIP, "connector": {"type": "linear"}, "llm": LLAMA}),
        "template": "vicuna_v1",
        "stages": list(stages) or [stage(folder)],
        "out": str(folder / "run"),
        "threads": 1,
    }
    return values | fields
