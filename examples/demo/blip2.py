"""BLIP-2 in miniature: a Q-Former learns to represent scenes of digits, then to speak by an LLM.

    python examples/demo/blip2.py [--folder demo-blip2] [--seed 0] [--set stages.0.steps=300]

Captions are of scenes as in the demo; those that the two stages are measured on are made of scans
that no stage has seen. What is printed is the validation of each stage, by the run itself.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from digits import make_scene, split_scans
from scenes import BRIEF, record

HERE = Path(__file__).resolve().parent
SCENES, HELD_OUT = 8000, 512
SAID = (
    *("val_itc_image_to_text", "val_itc_text_to_image", "val_itm_accuracy"),
    *("val_image_to_text_recall_at_1", "val_text_to_image_recall_at_1", "val_loss", "grounding"),
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


def main() -> None:
    """Data, both stages, and what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo-blip2"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="as of `isthmus train`")
    given = parser.parse_args()
    data, out = given.folder / "data", given.folder / "run"
    write(data, given.seed)
    options = [f"seed={given.seed}", *given.set]
    for number in range(2):
        for part in ("", "validation."):
            name = "test_captions" if part else "captions"
            place = f"stages.{number}.{part}data.0"
            options.append(f"{place}.file={(data / name).resolve()}.json")
            options.append(f"{place}.images={(data / 'images').resolve()}")
    command = [sys.executable, "-m", "isthmus", "train", str(HERE / "blip2.yaml")]
    command += ["--out", str(out)]
    subprocess.run([*command, *(word for each in options for word in ("--set", each))], check=True)
    for line in (out / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "val_loss" in row:
            said = ", ".join(f"{name} {row[name]:.3f}" for name in SAID if name in row)
            print(f"{row['stage']}, step {row['step']}: {said}")


if __name__ == "__main__":
    main()
