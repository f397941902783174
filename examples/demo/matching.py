"""Systems in miniature that learn which pictures and captions belong together: ALBEF, BLIP, BLIP-2.

    python examples/demo/matching.py blip2 [--folder demo-blip2] [--seed 0]
        [--set stages.0.steps=300]

Captions are of scenes as in the demo; those that it is measured on are made of scans that no stage
has seen. What is printed is the validation of each stage, by the run itself, and, of what writes,
how many of the captions of held-out scenes say all that is there, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
from collections.abc import Iterable
from pathlib import Path

import yaml
from digits import PLACES, Scene, make_scene, split_scans
from jobs import isthmus
from scenes import BRIEF, record

HERE = Path(__file__).resolve().parent
RECIPES = ("albef", "blip", "blip2")
SCENES, HELD_OUT = 8000, 512
SAID = (
    *("val_itc_image_to_text", "val_itc_text_to_image", "val_itm_accuracy"),
    *("val_image_to_text_recall_at_1", "val_text_to_image_recall_at_1", "val_itg_token_accuracy"),
    *("val_mlm_token_accuracy", "val_loss", "grounding"),
)
"""What is printed of a validation. `val_itc_...` is retrieval within a batch of 128."""
LONGEST = 64
"""Tokens of a caption."""


def write(folder: Path, seed: int) -> None:
    """Scenes and their captions, three for each of training, one for each that is held out; what
    is to be said of those, and the questions that ask for it."""
    rng = random.Random(seed)
    seen, unseen = split_scans(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, scans, count, captions in (
        ("captions", seen, SCENES, 3),
        ("test_captions", unseen, HELD_OUT, 1),
    ):
        records, scenes = [], []
        for number in range(count):
            scene = make_scene(f"{name}_{number:05}", scans, rng)
            scene.picture.save(folder / "images" / f"{scene.name}.png", compress_level=1)
            scenes.append(scene)
            for which, caption in enumerate(scene.captions(rng)[:captions]):
                turns = [(rng.choice(BRIEF), caption)]
                records.append(record(f"{scene.name}_{which}", scene, turns))
        (folder / f"{name}.json").write_text(json.dumps(records))
    asked = [{"question_id": s.name, "image": f"{s.name}.png", "text": BRIEF[0]} for s in scenes]
    lines = (json.dumps(row) + "\n" for row in asked)
    (folder / "questions.jsonl").write_text("".join(lines))
    (folder / "shown.json").write_text(json.dumps({s.name: shown(s) for s in scenes}))


def shown(scene: Scene) -> list[list[str]]:
    """What a caption of the scene must say, in any order."""
    return sorted(sorted((PLACES[t.place], str(t.digit), t.colour)) for t in scene.things)


def told(caption: str) -> list[list[str]]:
    """What a caption says, in the same form."""
    return sorted(sorted(piece.split()) for piece in caption.split(","))


def exactly_right(answers: Iterable[str], truth: dict[str, list[list[str]]]) -> float:
    """The share of the answers (JSON lines) that say all that is shown, and nothing else."""
    rows = [json.loads(line) for line in answers]
    return sum(told(row["text"]) == truth[row["question_id"]] for row in rows) / len(truth)


def caption(run: Path, data: Path) -> float:
    """Have a run write captions of what is held out; returns the share that is exactly right."""
    asked = ("--questions", str(data / "questions.jsonl"), "--images", str(data / "images"))
    sizes = ("--batch-size", "64", "--max-new-tokens", str(LONGEST))
    answers = run / "captions.jsonl"
    isthmus("generate", "--model", str(run), *asked, "--out", str(answers), *sizes)
    truth = json.loads((data / "shown.json").read_text())
    return exactly_right(answers.read_text().splitlines(), truth)


def main() -> None:
    """Data, the stages, captions of held-out scenes, and what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--folder", type=Path, help="absent, `demo-` and the recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="as of `isthmus train`")
    given = parser.parse_args()
    folder = given.folder or Path(f"demo-{given.recipe}")
    data, out = folder / "data", folder / "run"
    write(data, given.seed)
    recipe = HERE / f"{given.recipe}.yaml"
    planned = yaml.safe_load(recipe.read_text())
    options = [f"seed={given.seed}", *given.set]
    for number in range(len(planned["stages"])):
        for part in ("", "validation."):
            name = "test_captions" if part else "captions"
            place = f"stages.{number}.{part}data.0"
            options.append(f"{place}.file={(data / name).resolve()}.json")
            options.append(f"{place}.images={(data / 'images').resolve()}")
    settings = [word for each in options for word in ("--set", each)]
    isthmus("train", str(recipe), "--out", str(out), *settings)
    writes = "llm" in planned["model"]
    right = caption(out, data) if writes else 0.0
    for line in (out / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "val_loss" in row:
            said = ", ".join(f"{name} {row[name]:.3f}" for name in SAID if name in row)
            print(f"{row['stage']}, step {row['step']}: {said}")
    if writes:
        print(f"captions of {HELD_OUT} held-out scenes that are exactly right: {right:.1%}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU time: {(used.ru_utime + used.ru_stime) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
