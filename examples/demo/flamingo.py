"""Flamingo in miniature: what is asked stands nowhere but in the examples that came before.

    python examples/demo/flamingo.py [--folder demo-flamingo] [--seed 0] [--set stages.2.steps=300]

A sequence shows scenes of one digit one after the other, each with a word: all of them tell the
digit, or all the colour, or all the place. Which, is never said. With no example before it, a third
of the answers can be right at best; what is printed is how many are with 0, 4 and 8 examples, about
scans that no stage has seen. Examples are drawn from the scenes of training.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from digits import PLACES, Scan, Scene, make_scene, split_scans
from miniature import call, options, say_minutes, scores, train
from scenes import record

SCENES, SEQUENCES, QUESTIONS = 6000, 8000, 300
MOST = 9
"""Scenes of the longest sequence: eight examples, and what is asked."""
KINDS = ("digit", "colour", "place")
SHOTS = (0, 4, 8)
LEARNT = ("captions", "words", "interleaved")
"""What each stage learns from."""


def lone(name: str, scans: list[Scan], rng: random.Random) -> Scene:
    """A scene of one digit."""
    while True:
        scene = make_scene(name, scans, rng)
        if len(scene.things) == 1:
            return scene


def told(scene: Scene) -> dict[str, str]:
    """What there is to tell of it, by kind."""
    (thing,) = scene.things
    return dict(zip(KINDS, (str(thing.digit), thing.colour, PLACES[thing.place]), strict=True))


def sequence(name: str, scenes: list[Scene], kind: str) -> dict[str, Any]:
    """One record: picture, word, picture, word, ..."""
    said = []
    for scene in scenes:
        said += [{"from": "human", "value": "<image>\nOutput:"},
                 {"from": "gpt", "value": told(scene)[kind]}]  # fmt: skip
    return {"id": name, "image": [f"{s.name}.png" for s in scenes], "conversations": said}


def words(sequence: dict[str, Any]) -> dict[str, Any]:
    """The same without its pictures."""
    said = [turn | {"value": turn["value"].removeprefix("<image>\n")}
            for turn in sequence["conversations"]]  # fmt: skip
    return {"id": sequence["id"], "conversations": said}


def write(folder: Path, seed: int) -> None:
    """Scenes, captions, sequences with pictures and without, examples and questions."""
    rng = random.Random(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    seen, unseen = split_scans(seed)
    scenes = [lone(f"train_{i:05}", seen, rng) for i in range(SCENES)]
    tested = [lone(f"test_{i:05}", unseen, rng) for i in range(QUESTIONS)]
    for scene in scenes + tested:
        scene.picture.save(folder / "images" / f"{scene.name}.png", compress_level=1)
    sequences = [
        sequence(f"sequence_{i:05}", rng.sample(scenes, rng.randint(1, MOST)), rng.choice(KINDS))
        for i in range(SEQUENCES)
    ]
    files = {
        "captions": [record(s.name, s, [("", " ".join(told(s).values()))]) for s in scenes],
        "interleaved": sequences,
        "words": [words(each) for each in sequences],
    }
    for kind in KINDS:
        files[f"examples-{kind}"] = [sequence(s.name, [s], kind) for s in scenes]
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    for kind in KINDS:
        rows = [
            {"question_id": s.name, "image": f"{s.name}.png", "text": "Output:",
             "answer": told(s)[kind], "category": kind}
            for s in tested
        ]  # fmt: skip
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / f"questions-{kind}.jsonl").write_text("".join(lines))


def main() -> None:
    """Data, training, and right answers by the number of examples."""
    given = options(__doc__, "demo-flamingo")
    data, run, out = (given.folder.resolve() / name for name in ("data", "run", "evaluation"))
    write(data, given.seed)
    train("flamingo", data, run, given, [(name,) for name in LEARNT])
    places = {"models.flamingo": run}
    for kind in KINDS:
        for shots in SHOTS:
            name = f"{kind}-{shots}"
            places[f"benchmarks.{name}.data"] = data / f"questions-{kind}.jsonl"
            places[f"benchmarks.{name}.images"] = data / "images"
            if shots:
                places[f"shots.{name}.data.file"] = data / f"examples-{kind}.json"
                places[f"shots.{name}.data.images"] = data / "images"
    call("evaluate", "flamingo-evaluate.yaml", out, places, [])
    for shots in SHOTS:
        right = {k: scores(out / "flamingo" / f"{k}-{shots}")["accuracy"] for k in KINDS}
        each = ", ".join(f"{kind} {score:.1f}" for kind, score in right.items())
        print(f"{shots} examples: {sum(right.values()) / len(right):.1f} % right ({each})")
    say_minutes()


if __name__ == "__main__":
    main()
