"""What the small systems beside this file share: isthmus is called, and its scores are read."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def options(about: str | None, folder: str) -> argparse.Namespace:
    """Those of every one: `folder`, `seed`, and settings for its training."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(folder))
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and data order")
    parser.add_argument("--set", action="append", default=[], help="as of `isthmus train`")
    return parser.parse_args()


def call(verb: str, config: str, out: Path, places: Mapping[str, Any], more: list[str]) -> None:
    """A verb of isthmus, with these settings by their place, and more as a user wrote them."""
    settings = [f"{place}={value}" for place, value in places.items()] + more
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "isthmus", verb, str(HERE / config), "--out", str(out)]
    subprocess.run([*command, *words], check=True)


def train(
    name: str, data: Path, run: Path, given: argparse.Namespace, stages: Sequence[Sequence[str]]
) -> None:
    """Train `NAME.yaml`, whose stages learn from these files of `data`."""
    places: dict[str, Any] = {"seed": given.seed}
    for stage, files in enumerate(stages):
        for at, file in enumerate(files):
            source = f"stages.{stage}.data.{at}"
            places |= {f"{source}.file": data / f"{file}.json", f"{source}.images": data / "images"}
    call("train", f"{name}.yaml", run, places, given.set)


def ask(name: str, run: Path, benchmark: str, questions: Path, out: Path) -> None:
    """Put the questions of a benchmark to what was trained, and print what was right."""
    asked = f"benchmarks.{benchmark}"
    places = {f"models.{name}": run, f"{asked}.data": questions,
              f"{asked}.images": questions.parent / "images"}  # fmt: skip
    call("evaluate", f"{name}-evaluate.yaml", out, places, [])
    for group, score in scores(out / name / benchmark).items():
        print(f"{group}: {score:.1f} %")


def scores(folder: Path) -> dict[str, float]:
    """The headline and every category of one benchmark, in percent."""
    found: dict[str, float] = json.loads((folder / "scores.json").read_text())["by"]
    return found


def say_minutes() -> None:
    """Processor time of all that was called: on an idle machine, what one core needs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{(used.ru_utime + used.ru_stime) / 60:.1f} minutes of one core")
