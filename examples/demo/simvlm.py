"""SimVLM in miniature: vision and language from scratch, by one objective, on scenes of digits.

    python examples/demo/simvlm.py [--folder demo-simvlm] [--seed 0] [--set stages.0.steps=300]

Pretraining has captions, of which a share joins the picture in the prefix, and text alone: captions
that have lost their picture. Then all of it is finetuned on questions of the demo's types. What is
printed is how many are answered right, about scans that no stage has seen.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from digits import Scene, make_scene, split_scans
from miniature import ask, options, say_minutes, train
from questions import TYPES, questions
from scenes import held_out_questions, record

SCENES, QUESTIONS = 8000, 400
TEXT_ONLY = 8
"""One caption of so many loses its picture."""


def write(folder: Path, seed: int) -> None:
    """Scenes, captions with a picture and without, questions to learn from and to be asked."""
    rng = random.Random(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    seen, unseen = split_scans(seed)
    scenes = [make_scene(f"train_{i:05}", seen, rng) for i in range(SCENES)]
    tested = [make_scene(f"test_{i:05}", unseen, rng) for i in range(4 * QUESTIONS)]
    rows = held_out_questions(tested, QUESTIONS, rng)
    asked = {row["image"] for row in rows}
    for scene in scenes + [scene for scene in tested if f"{scene.name}.png" in asked]:
        scene.picture.save(folder / "images" / f"{scene.name}.png", compress_level=1)
    captions = [
        captioned(f"{scene.name}_{at}", scene, caption)
        for scene in scenes
        for at, caption in enumerate(scene.captions(rng))
    ]
    files = {
        "captions": [each for at, each in enumerate(captions) if at % TEXT_ONLY],
        "texts": [text_alone(each) for each in captions[::TEXT_ONLY]],
        "questions": [record(s.name, s, talk(s, rng)) for s in scenes],
    }
    for name, records in files.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "questions.jsonl").write_text("".join(lines))


def captioned(name: str, scene: Scene, caption: str) -> dict[str, Any]:
    """A picture and its caption: SimVLM's pretraining asks nothing."""
    made = record(name, scene, [("", caption)])
    made["conversations"][0]["value"] = "<image>"
    return made


def text_alone(caption: dict[str, Any]) -> dict[str, Any]:
    """The same without its picture."""
    said = [{"from": "human", "value": ""}, caption["conversations"][1]]
    return {"id": caption["id"], "conversations": said}


def talk(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """One question of every type that the scene allows, in any order."""
    asked = [[a[1:] for a in questions(scene.things) if a[0].split()[0] == kind] for kind in TYPES]
    turns = [rng.choice(found) for found in asked if found]
    return rng.sample(turns, len(turns))


def main() -> None:
    """Data, both stages, and right answers by type of question."""
    given = options(__doc__, "demo-simvlm")
    data, run, out = (given.folder.resolve() / name for name in ("data", "run", "evaluation"))
    write(data, given.seed)
    train("simvlm", data, run, given, (("captions", "texts"), ("questions",)))
    ask("simvlm", run, "digits", data / "questions.jsonl", out)
    say_minutes()


if __name__ == "__main__":
    main()
