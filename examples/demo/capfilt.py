"""CapFilt in miniature: scenes of digits, half of whose captions are another scene's.

    python examples/demo/capfilt.py [--folder demo-capfilt] [--seed 0]

As in BLIP (Li et al. 2022, arXiv:2201.12086): a model learns from all of the noisy captions, then
from a few that people have looked at; it writes a caption for every noisy picture, and says which
ones of both kinds belong to it. Two models then learn from nothing, with equal steps: one from the
noisy captions, one from what CapFilt kept. Both are measured on scans that nobody has seen. What is
finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from digits import PLACES, Scene, make_scene, split_scans
from jobs import Job, console, isthmus, run_jobs, settings
from scenes import BRIEF, record

HERE = Path(__file__).resolve().parent
NOISY, CLEAN, HELD_OUT = 8000, 2000, 512
REPRESENT, SPEAK = 250, 250
"""Steps of the two stages that learn from nothing."""
SETS = {"noisy": "noisy captions", "filtered": "what CapFilt kept"}


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
    """What is in a scene: one entry a digit, in an order of their own."""
    return sorted(_fact((PLACES[t.place], str(t.digit), t.colour)) for t in scene.things)


def said_in(caption: str) -> list[str]:
    """What a caption says, in the same form."""
    return sorted(_fact(words.split()) for words in caption.split(", "))


def _fact(words: Iterable[str]) -> str:
    return " ".join(sorted(words))


def teach(folder: Path) -> None:
    """Train captioner and filter."""
    config = yaml.safe_load((HERE / "captioner.yaml").read_text())
    places = {}
    for number, stage in enumerate(config["stages"]):
        for part in ("validation.data", "data") if "validation" in stage else ("data",):
            name = {"noisy": "noisy", "clean": "clean", "speak": "clean"}[stage["name"]]
            file = "test_captions" if part != "data" else name
            places[f"stages.{number}.{part}.0.file"] = folder / "data" / f"{file}.json"
            places[f"stages.{number}.{part}.0.images"] = folder / "data" / "images"
    steps = sum(stage["steps"] for stage in config["stages"])
    command = ("train", str(HERE / "captioner.yaml"), "--resume", *settings(places))
    run_jobs([Job(folder / "teacher.log", folder / "teacher", steps, *command)], at_once=1)


def filter_captions(folder: Path) -> None:
    """Write captions, and keep what passes."""
    (checkpoint,) = (folder / "teacher" / "checkpoints").glob("02-clean-*")
    places = {
        "data.0.file": folder / "data" / "noisy.json",
        "data.0.images": folder / "data" / "images",
        "images": folder / "data" / "images",
        "captioner.model": folder / "teacher",
        "filter.model": checkpoint,
    }
    example = str(HERE.parent / "capfilt.yaml")
    out = str(folder / "filtered")
    isthmus("synthesize", "capfilt", example, *settings(places), "--out", out)


def learn_again(folder: Path) -> None:
    """Train two models from nothing, on either set of captions."""
    run_jobs([from_nothing(folder, name) for name in SETS], at_once=2)


def from_nothing(folder: Path, name: str) -> Job:
    """One of them: the teacher's last two stages, on these captions."""
    data = {"noisy": folder / "data" / "noisy.json",
            "filtered": folder / "filtered" / "samples.jsonl"}[name]  # fmt: skip
    config = yaml.safe_load((HERE / "captioner.yaml").read_text())
    _, represent, speak = config["stages"]
    for stage, steps in ((represent, REPRESENT), (speak, SPEAK)):
        images = str(folder / "data" / "images")
        held_out = str(folder / "data" / "test_captions.json")
        stage["steps"] = steps
        stage["data"] = [{"type": "llava", "file": str(data), "images": images}]
        stage["validation"]["data"] = [{"type": "llava", "file": held_out, "images": images}]
    config["stages"], config["threads"] = [represent, speak], 1
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    log, run = folder / f"learn-from-{name}.log", folder / f"from-{name}"
    return Job(log, run, REPRESENT + SPEAK, "train", str(path), "--resume")


def measure(folder: Path) -> dict[str, Any]:
    """What was kept, by what is in the pictures; and what the two models have learnt."""
    truth = json.loads((folder / "data" / "truth.json").read_text())
    counts: dict[tuple[str, bool, bool], int] = {}
    for file, kept in (("samples.jsonl", True), ("rejected.jsonl", False)):
        for line in (folder / "filtered" / file).read_text().splitlines():
            row = json.loads(line)
            text = row["conversations"][1]["value"] if kept else row["text"]
            right = said_in(text) == truth[row["image"]]
            # A written caption in the words that were there is right or wrong with these.
            kind = row["kind"] if row.get("reason") != "duplicate" else "duplicate"
            counts[kind, right, kept] = counts.get((kind, right, kept), 0) + 1

    def part(kind: str, right: bool, kept: bool) -> float:
        same = counts.get((kind, right, kept), 0)
        return same / max(1, same + counts.get((kind, right, not kept), 0))

    def right_among(kind: str, kept: tuple[bool, ...]) -> float:
        right = sum(counts.get((kind, True, each), 0) for each in kept)
        return right / max(1, right + sum(counts.get((kind, False, each), 0) for each in kept))

    found: dict[str, Any] = {
        "right_kept": part("web", True, True),
        "wrong_rejected": part("web", False, False),
        "written_right": right_among("synthetic", (True, False)),
        "written_right_among_kept": right_among("synthetic", (True,)),
        "kept": sum(n for (_, _, kept), n in counts.items() if kept),
    }
    for name in SETS:
        lines = (folder / f"from-{name}" / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if "val_loss" in row]
        represent = [row for row in rows if row["stage"] == "clean"][-1]
        found[name] = {
            "image_to_text": represent["val_itc_image_to_text"],
            "text_to_image": represent["val_itc_text_to_image"],
            "itm_accuracy": represent["val_itm_accuracy"],
            "caption_loss": rows[-1]["val_loss"],
        }
    return found


def main() -> None:
    """Data, captioner and filter, CapFilt, two models from nothing, what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo-capfilt"))
    parser.add_argument("--seed", type=int, default=0, help="of the scenes")
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    if not (folder / "data" / "truth.json").exists():
        write(folder / "data", given.seed)
    teach(folder)
    filter_captions(folder)
    learn_again(folder)
    found = measure(folder)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found["cpu_minutes"] = round(sum(each.ru_utime + each.ru_stime for each in usage) / 60, 1)
    (folder / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    console.print(
        f"of the right captions {found['right_kept']:.1%} were kept, of the wrong ones "
        f"{found['wrong_rejected']:.1%} rejected\n"
        f"of those that were written {found['written_right']:.1%} are right, "
        f"{found['written_right_among_kept']:.1%} of those kept"
    )
    for name, said in SETS.items():
        numbers = ", ".join(f"{key} {value:.3f}" for key, value in found[name].items())
        console.print(f"learnt from {said}: {numbers}")
    console.print(f"{found['cpu_minutes']} minutes of CPU time")


if __name__ == "__main__":
    main()
