"""What the demo's scripts count, and what they put in place of its parts."""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from isthmus.core.config import check, load
from isthmus.core.train.config import RunConfig

DEMO = Path(__file__).resolve().parent.parent / "examples" / "demo"
SCRIPTS = ("blip2", "variants", "run", "jobs", "scenes", "questions", "digits")


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(DEMO))
    try:
        yield {name: importlib.import_module(name) for name in SCRIPTS}
    finally:
        sys.path.remove(str(DEMO))
        for name in SCRIPTS:
            del sys.modules[name]


def test_a_caption_is_right_when_it_says_all_and_nothing_else(scripts) -> None:
    truth = {
        "a": [["3", "northwest", "red"], ["7", "blue", "southeast"]],
        "b": [["1", "east", "x"]],
    }

    def right(said: str) -> float:
        answers = [json.dumps({"question_id": "a", "text": said})]
        return scripts["blip2"].exactly_right(answers, truth)

    assert right("7 southeast blue, 3 red northwest") == 0.5  # the other one has no answer
    for wrong in (
        "7 southeast blue",
        "7 southeast blue, 3 red northeast",
        "7 southeast blue, 3 red northwest, 3 red northwest",
        "7 southeast red, 3 blue northwest",
        "",
    ):
        assert right(wrong) == 0.0


def test_every_caption_of_a_scene_is_right(scripts) -> None:
    blip2, digits = scripts["blip2"], scripts["digits"]
    seen, _ = digits.split_scans(0)
    rng = random.Random(0)
    for number in range(20):
        scene = digits.make_scene(str(number), seen, rng)
        assert all(blip2.told(said) == blip2.shown(scene) for said in scene.captions(rng))


def test_every_variant_is_a_run_that_can_be(scripts) -> None:
    for changes in scripts["variants"].VARIANTS.values():
        settings = load(RunConfig, DEMO / "demo.yaml", list(changes))
        check(settings)


def test_deaf_differs_from_instructblip_in_what_it_reads_alone(scripts) -> None:
    variants = scripts["variants"].VARIANTS
    reading, deaf = (
        load(RunConfig, DEMO / "demo.yaml", list(variants[name])).model.connector
        for name in ("instructblip", "instructblip-deaf")
    )
    assert (reading.text, deaf.text) == ("instruction", "none")
    assert deaf == reading.model_copy(update={"text": "none", "tokenizer": None})
