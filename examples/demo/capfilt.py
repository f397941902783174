"""CapFilt in miniature: scenes of digits, half of whose captions are another scene's.

    python examples/demo/capfilt.py [--folder demo-capfilt] [--seed 0]

As in BLIP (Li et al. 2022, arXiv:2201.12086): a model learns from all of the noisy captions, then
from a few that people have looked at; it writes a caption for every noisy picture, and says which of
both captions belong to it. Two models then learn from nothing, with equal steps: one from the noisy
captions, one from what CapFilt kept. Both are measured on scans that nobody has seen.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path

from digits import PLACES, Scene, make_scene, split_scans
from scenes import BRIEF, record

HERE = Path(__file__).resolve().parent
NOISY, CLEAN, HELD_OUT = 8000, 2000, 512


def write(folder: Path, seed: int) -> None:
    """Scenes with one caption each, of which half are another scene's; a few clean ones with three;
    those that are held out; and what is in every picture."""
    rng = random.Random(seed)
    seen, unseen = split_scans(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    truth: dict[str, list[str]] = {}
    for name, scans, count, captions in (
        ("noisy", seen, NOISY, 1),
        ("clean", seen, CLEAN, 3),
        ("test_captions", unseen, HELD_OUT, 1),
    ):
        scenes = [make_scene(f"{name}_{number:05}", scans, rng) for number in range(count)]
        said = [rng.sample(scene.captions(rng), captions) for scene in scenes]
        if name == "noisy":
            wrong = rng.sample(range(count), count // 2)
            taken = [said[other] for other in [*wrong[1:], wrong[0]]]
            for at, caption in zip(wrong, taken, strict=True):
                said[at] = caption
        rows = []
        for scene, own in zip(scenes, said, strict=True):
            scene.picture.save(folder / "images" / f"{scene.name}.png", compress_level=1)
            truth[f"{scene.name}.png"] = facts(scene)
            for which, caption in enumerate(own):
                turns = [(rng.choice(BRIEF), caption)]
                rows.append(record(f"{scene.name}_{which}", scene, turns))
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (folder / "truth.json").write_text(json.dumps(truth))


def facts(scene: Scene) -> list[str]:
    """What is in a scene, in an order of its own."""
    return sorted(_fact((PLACES[t.place], str(t.digit), t.colour)) for t in scene.things)


def said_in(caption: str) -> list[str]:
    """What a caption says, in the same order."""
    return sorted(_fact(words.split()) for words in caption.split(", "))


def _fact(words: Iterable[str]) -> str:
    return " ".join(sorted(words))
