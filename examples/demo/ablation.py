"""What each kind of instruction data is worth: the LLaVA paper's ablation, on the demo's questions.

    python examples/demo/ablation.py [--folder demo] [--page docs/data-ablation.md]

Where the folder has a demo, its model is the first row; else one is trained there. The others begin
as that one was before its last stage, take as many steps, and differ in the kinds of samples that
`isthmus synthesize` makes for them. What is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml
from demodata import HERE, data_at, make_data, planned, synthesize
from jobs import Job, console, isthmus, run_jobs, settings, steps_of
from questions import CONVERSATION, REASONING

FULL, NONE = "all three kinds", "no instruction tuning"
KINDS = {"conversation alone": ("conversation",), "detail and reasoning": ("detail", "reasoning")}
TABLE = ("<!-- made by examples/demo/ablation.py -->", "<!-- end -->")


def models(folder: Path) -> dict[str, Path]:
    """Name -> folder, of all that are compared."""
    align = next(folder.glob("sighted/checkpoints/02-align-*"))
    variants = {name: folder / "ablation" / "-".join(kinds) for name, kinds in KINDS.items()}
    return {FULL: folder / "sighted", **variants, NONE: align}


def train(folder: Path) -> None:
    """The demo's model if there is none, then those that learn from some kinds alone."""
    stages = planned().stages
    make_data(folder)
    steps, run = sum(stage.steps for stage in stages), folder / "sighted"
    if not list(run.glob("checkpoints/03-*")):
        demo = ("train", str(HERE / "demo.yaml"), "--resume", *data_at(folder))
        run_jobs([Job(folder / "train-sighted.log", run, steps, *demo)], at_once=1)
    jobs = []
    for name, kinds in KINDS.items():
        run = models(folder)[name]
        if not list(run.glob("checkpoints/01-*")):
            data = synthesize_some(folder, kinds)
            config = write_run(folder, data)
            log = run.with_suffix(".log")
            jobs.append(Job(log, run, stages[-1].steps, "train", str(config), "--resume"))
    run_jobs(jobs, at_once=2)


def synthesize_some(folder: Path, kinds: tuple[str, ...]) -> Path:
    """Samples of these kinds alone, of the same scenes and the same teacher."""
    config = yaml.safe_load((HERE / "synthesize.yaml").read_text())
    recipes = [recipe for recipe in config["recipes"] if recipe["type"] in kinds]
    out = folder / "ablation" / f"{'-'.join(kinds)}-data"
    synthesize(folder, "--set", f"recipes={json.dumps(recipes)}", out=out)
    return out / "samples.jsonl"


def write_run(folder: Path, data: Path) -> Path:
    """The demo's last stage on other data, from where the demo's model stood before it."""
    config = yaml.safe_load((HERE / "demo.yaml").read_text())
    config["start"] = {"checkpoint": str(models(folder)[NONE].resolve())}
    stage = config["stages"][-1]
    images = str((folder / "data" / "images").resolve())
    stage["data"][0] |= {"file": str(data.resolve()), "images": images}
    config["stages"] = [stage]
    path = data.parent / "run.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def evaluate(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> scores, of every model; by `isthmus evaluate`, which writes a report, too."""
    config = yaml.safe_load((HERE / "evaluate.yaml").read_text())
    names = {name: name.replace(" ", "-") for name in models(folder)}
    config["title"] = "Instruction data, kind by kind"
    config["controls"] = []
    config["models"] = {names[n]: str(at.resolve()) for n, at in models(folder).items()}
    path, out = folder / "ablation" / "evaluate.yaml", folder / "ablation" / "evaluation"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    data = folder.resolve() / "data"
    places = {"benchmarks.digits.data": data / "questions.jsonl",
              "benchmarks.digits.images": data / "images"}  # fmt: skip
    isthmus("evaluate", str(path), *settings(places), "--out", str(out))
    return {
        name: json.loads((out / folder_name / "digits" / "scores.json").read_text())
        for name, folder_name in names.items()
    }


def table(scores: dict[str, dict[str, Any]], samples: dict[str, str]) -> str:
    """Markdown: right answers by kind of question, and as shares of the first row's."""
    lines = [
        "| learnt from | samples | right, % | interval | of the first row's | conversation's "
        "questions | reasoning's |",
        "|---|---|---|---|---|---|---|",
    ]
    whole = scores[FULL]["score"]
    for name, found in scores.items():
        by = found["by"]
        talk, thought = (
            sum(by[kind] for kind in kinds) / len(kinds) for kinds in (CONVERSATION, REASONING)
        )
        low, high = found["interval"]
        figures = f"{found['score']:.1f} | {low:.1f} to {high:.1f} | {found['score'] / whole:.1%}"
        lines.append(f"| {name} | {samples[name]} | {figures} | {talk:.1f} | {thought:.1f} |")
    return "\n".join(lines)


def count_samples(folder: Path) -> dict[str, str]:
    """Name -> how many samples there were to learn from."""
    files = {name: at.parent / f"{at.name}-data" for name, at in models(folder).items()}
    files[FULL] = folder / "instruct"
    counted = {}
    for name, at in files.items():
        rows = at / "samples.jsonl"
        counted[name] = f"{len(rows.read_text().splitlines()):,}" if rows.exists() else "0"
    return counted


def main() -> None:
    """Data, training, evaluation, table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"))
    parser.add_argument("--page", type=Path, help="Markdown file whose table is to be replaced")
    given = parser.parse_args()
    folder: Path = given.folder
    (folder / "ablation").mkdir(parents=True, exist_ok=True)
    train(folder)
    made = table(evaluate(folder), count_samples(folder))
    console.print(made, markup=False, soft_wrap=True)
    minutes = sum(row["seconds"] for row in steps_of(folder / "sighted")) / 60
    console.print(f"steps of the first row took {minutes:.1f} min")
    if given.page:
        before, rest = given.page.read_text().split(TABLE[0])
        after = rest.split(TABLE[1])[1]
        given.page.write_text(f"{before}{TABLE[0]}\n\n{made}\n\n{TABLE[1]}{after}")


if __name__ == "__main__":
    main()
