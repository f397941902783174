"""BLIP-2 in miniature: a Q-Former learns to represent scenes of digits, then to speak by an LLM.
Or BLIP: a MED learns to compare, to match and to write them at once.

    python examples/demo/blip2.py [--recipe blip2] [--folder demo-blip2] [--seed 0]
        [--set stages.0.steps=300]

Captions are of scenes as in the demo; those that stages are measured on are made of scans that no
stage has seen. What is printed is the validation of each stage, by the run itself, and how many of
the held-out pictures get a caption that is right in every word.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

import yaml
from digits import make_scene, split_scans
from scenes import BRIEF, record

from isthmus import load

HERE = Path(__file__).resolve().parent
SCENES, HELD_OUT = 8000, 512
SAID = (
    *("val_itc_image_to_text", "val_itc_text_to_image", "val_itm_accuracy"),
    *("val_image_to_text_recall_at_1", "val_text_to_image_recall_at_1", "val_itg_token_accuracy"),
    *("val_loss", "grounding"),
)
"""What is printed of a validation."""


def write(folder: Path, seed: int) -> None:
    """Scenes and their captions: three for each of training, one for each that is held out."""
    rng = random.Random(seed)
    seen, unseen = split_scans(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, scans, scenes, captions in (
        ("captions", seen, SCENES, 3),
        ("test_captions", unseen, HELD_OUT, 1),
    ):
        records = []
        for number in range(scenes):
            scene = make_scene(f"{name}_{number:05}", scans, rng)
            scene.picture.save(folder / "images" / f"{scene.name}.png", compress_level=1)
            for which, caption in enumerate(scene.captions(rng)[:captions]):
                turns = [(rng.choice(BRIEF), caption)]
                records.append(record(f"{scene.name}_{which}", scene, turns))
        (folder / f"{name}.json").write_text(json.dumps(records))


def said_right(data: Path, run: Path) -> float:
    """Share of the held-out pictures whose caption, written greedily, says what is in them and
    nothing else, in whatever order."""
    records = json.loads((data / "test_captions.json").read_text())
    pictures = [data / "images" / row["image"] for row in records]
    asked = [row["conversations"][0]["value"].replace("<image>", "").strip() for row in records]
    talks = []
    for picture, words in zip(pictures, asked, strict=True):
        seen, said = {"type": "image", "image": str(picture)}, {"type": "text", "text": words}
        talks.append([{"role": "user", "content": [seen, said]}])
    answers = load(run).answer(talks, batch_size=64, max_new_tokens=48)
    right = [row["conversations"][1]["value"] for row in records]
    return sum(facts(a) == facts(b) for a, b in zip(answers, right, strict=True)) / len(records)


def facts(caption: str) -> list[list[str]]:
    """What a caption says of every digit, in an order of its own."""
    return sorted(sorted(fact.split()) for fact in caption.split(", "))


def main() -> None:
    """Data, the stages, and what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="blip2", help="blip2 or blip, or another beside it")
    parser.add_argument("--folder", type=Path, help="absent, `demo-` and the recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="as of `isthmus train`")
    given = parser.parse_args()
    folder = given.folder or Path(f"demo-{given.recipe}")
    data, out = folder / "data", folder / "run"
    write(data, given.seed)
    recipe = HERE / f"{given.recipe}.yaml"
    options = [f"seed={given.seed}", *given.set]
    for number in range(len(yaml.safe_load(recipe.read_text())["stages"])):
        for part in ("", "validation."):
            name = "test_captions" if part else "captions"
            place = f"stages.{number}.{part}data.0"
            options.append(f"{place}.file={(data / name).resolve()}.json")
            options.append(f"{place}.images={(data / 'images').resolve()}")
    command = [sys.executable, "-m", "isthmus", "train", str(recipe)]
    command += ["--out", str(out)]
    subprocess.run([*command, *(word for each in options for word in ("--set", each))], check=True)
    for line in (out / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "val_loss" in row:
            said = ", ".join(f"{name} {row[name]:.3f}" for name in SAID if name in row)
            print(f"{row['stage']}, step {row['step']}: {said}")
    print(f"captions right in every word: {said_right(data, out):.3f}")


if __name__ == "__main__":
    main()
