"""What the demo's scripts count, and what they put in place of its parts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from isthmus.core.config import load
from isthmus.core.train.config import RunConfig
from tests.demo_scripts import DEMO, imported


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    with imported("matching", "variants", "digits") as modules:
        yield modules


def test_a_caption_is_right_when_it_says_all_and_nothing_else(scripts) -> None:
    truth = {
        "a": [["3", "northwest", "red"], ["7", "blue", "southeast"]],
        "b": [["1", "east", "x"]],
    }

    def right(said: str) -> float:
        answers = [json.dumps({"question_id": "a", "text": said})]
        return scripts.matching.exactly_right(answers, truth)

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
    matching, digits = scripts.matching, scripts.digits
    seen, _ = digits.split_scans(0)
    rng = random.Random(0)
    for number in range(20):
        scene = digits.make_scene(str(number), seen, rng)
        assert all(matching.told(said) == matching.shown(scene) for said in scene.captions(rng))


def test_every_variant_is_a_run_of_the_parts_it_is_named_for(scripts) -> None:
    found = {}
    for name, changes in scripts.variants.VARIANTS.items():
        model = load(RunConfig, DEMO / "demo.yaml", list(changes)).model
        found[name] = (model.encoder.owner.name, model.connector.owner.name)
    assert found == {
        "llava-1.5": ("clip", "mlp"),
        "llava-next": ("tiles", "linear"),
        "llava-next-base": ("clip", "linear"),
        "fused-encoders": ("concat", "linear"),
        "instructblip": ("clip", "qformer"),
        "instructblip-deaf": ("clip", "qformer"),
    }


def test_deaf_differs_from_instructblip_in_what_it_reads_alone(scripts) -> None:
    variants = scripts.variants.VARIANTS
    reading, deaf = (
        load(RunConfig, DEMO / "demo.yaml", list(variants[name])).model.connector
        for name in ("instructblip", "instructblip-deaf")
    )
    assert (reading.text, deaf.text) == ("instruction", "none")
    assert deaf == reading.model_copy(update={"text": "none", "tokenizer": None})
