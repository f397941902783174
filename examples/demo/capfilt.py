"""CapFilt in miniature: scenes of digits, half of whose captions are another scene's.

    python examples/demo/capfilt.py [--folder demo-capfilt] [--teacher demo-blip] [--seed 0]

BLIP's miniature, which has learnt from captions of other scenes, writes a caption for every
picture, and says which ones of both kinds belong to it (CapFilt: Li et al. 2022, arXiv:2201.12086).
Two of its like then learn from nothing, with equal steps: one from the noisy captions, one from
what CapFilt kept. Both are measured on scans that nobody has seen. Where the teacher's folder has
no run, matching.py is run first; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from digits import make_scene, split_scans
from jobs import Job, console, isthmus, run_jobs, settings
from scenes import BRIEF, record
from truth import facts, kept

HERE = Path(__file__).resolve().parent
NOISY, HELD_OUT = 4000, 512
STEPS = 250
"""Of those that learn from nothing."""
SHOWN = {
    "itc_image_to_text": "image_to_text",
    "itc_text_to_image": "text_to_image",
    "itm_accuracy": "itm_accuracy",
    "itg_loss": "caption_loss",
}
"""What is shown of a validation, and as what."""
SETS = {"noisy": "the noisy captions", "filtered": "what CapFilt kept"}


def write(folder: Path, seed: int) -> None:
    """Scenes with one caption each, of which half are another scene's; those that are held out; and
    what is in every picture."""
    rng = random.Random(f"capfilt {seed}")
    seen, unseen = split_scans(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    truth: dict[str, list[str]] = {}
    for name, scans, count in (("noisy", seen, NOISY), ("test_captions", unseen, HELD_OUT)):
        scenes = [make_scene(f"{name}_{number:05}", scans, rng) for number in range(count)]
        said = [rng.choice(scene.captions(rng)) for scene in scenes]
        if name == "noisy":
            wrong = rng.sample(range(count), count // 2)
            taken = [said[other] for other in [*wrong[1:], wrong[0]]]
            for at, caption in zip(wrong, taken, strict=True):
                said[at] = caption
        rows = []
        for scene, caption in zip(scenes, said, strict=True):
            scene.picture.save(folder / "images" / f"{scene.name}.png", compress_level=1)
            truth[f"{scene.name}.png"] = facts(scene)
            rows.append(record(scene.name, scene, [(rng.choice(BRIEF), caption)]))
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (folder / "truth.json").write_text(json.dumps(truth))


def teach(folder: Path, seed: int) -> None:
    """Train BLIP's miniature, unless there is one."""
    if not (folder / "run").exists():
        script = [sys.executable, str(HERE / "matching.py"), "blip", "--folder", str(folder)]
        if code := subprocess.run([*script, "--seed", str(seed)]).returncode:
            sys.exit(code)


def filter_captions(folder: Path, teacher: Path) -> None:
    """Write captions, and keep what passes; the teacher is both captioner and filter."""
    data = folder / "data"
    places = {
        "data.0.file": data / "noisy.json",
        "data.0.images": data / "images",
        "images": data / "images",
        "captioner.model": teacher / "run",
        "filter.model": teacher / "run",
    }
    example, out = str(HERE.parent / "capfilt.yaml"), str(folder / "filtered")
    isthmus("synthesize", "capfilt", example, *settings(places), "--out", out)


def learn_again(folder: Path) -> None:
    """Train two models from nothing, on either set of captions."""
    run_jobs([from_nothing(folder, name) for name in SETS], at_once=2)


def from_nothing(folder: Path, name: str) -> Job:
    """One of them."""
    data = folder / "data"
    files = {"noisy": data / "noisy.json", "filtered": folder / "filtered" / "samples.jsonl"}
    places: dict[str, Any] = {"threads": 1, "stages.0.steps": STEPS}
    for part, file in (("data", files[name]), ("validation.data", data / "test_captions.json")):
        places[f"stages.0.{part}.0.file"] = file
        places[f"stages.0.{part}.0.images"] = data / "images"
    log, run = folder / f"learn-from-{name}.log", folder / f"from-{name}"
    command = ("train", str(HERE / "blip.yaml"), "--resume", *settings(places))
    return Job(log, run, STEPS, *command)


def learnt(folder: Path) -> dict[str, dict[str, float]]:
    """What the two models came to on what is held out."""
    found = {}
    for name in SETS:
        lines = (folder / f"from-{name}" / "metrics.jsonl").read_text().splitlines()
        *_, last = (row for row in map(json.loads, lines) if "val_loss" in row)
        found[name] = {shown: last[f"val_{metric}"] for metric, shown in SHOWN.items()}
    return found


def main() -> None:
    """Data, teacher, CapFilt, two models from nothing, what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo-capfilt"))
    parser.add_argument("--teacher", type=Path, default=Path("demo-blip"), help="as of matching.py")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes, and of the teacher")
    given = parser.parse_args()
    folder, teacher = given.folder.resolve(), given.teacher.resolve()
    if not (folder / "data" / "truth.json").exists():
        write(folder / "data", given.seed)
    teach(teacher, given.seed)
    filter_captions(folder, teacher)
    counted = kept(folder)
    console.print(
        f"of the right captions {counted['right_kept']:.1%} were kept, of the wrong ones "
        f"{counted['wrong_rejected']:.1%} rejected\n"
        f"of the words of those that were written {counted['written_words_right']:.1%} are right; "
        f"all are in {counted['written_right']:.1%}, and in "
        f"{counted['written_right_among_kept']:.1%} of those kept; of the others that were kept "
        f"{counted['wrong_by_one']:.1%} are wrong about one digit alone"
    )
    learn_again(folder)
    compared = learnt(folder)
    for name, said in SETS.items():
        numbers = ", ".join(f"{key} {value:.3f}" for key, value in compared[name].items())
        console.print(f"learnt from {said}: {numbers}")
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    minutes = round(sum(each.ru_utime + each.ru_stime for each in usage) / 60, 1)
    console.print(f"{minutes} minutes of CPU time")
    results = {**counted, **compared, "cpu_minutes": minutes}
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
