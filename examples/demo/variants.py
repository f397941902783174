"""The demo with other parts: LLaVA-1.5's connector, LLaVA-NeXT's tiles, fused encoders,
InstructBLIP's Q-Former.

    python examples/demo/variants.py llava-next [--folder demo-variants] [--seed 0] [--set ...]

The data and the questions are those of demo.yaml, and so are the stages, half as long; the parts
are changed by `--set`, as VARIANTS says. Printed are the right answers to questions about scenes
made of scans that no stage has seen, by type of question, and the CPU time that training took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

from scenes import write

HERE = Path(__file__).resolve().parent
SCENES, QUESTIONS = 8000, 500
STEPS = (850, 50, 325)
"""Of the stages: pretrain, align, instruct."""
SMALL = (
    "{type: clip, layer: -1, preprocess: resize, config: {hidden_size: 128, intermediate_size: 512,"
    " num_hidden_layers: 3, num_attention_heads: 4, image_size: %d, patch_size: 16}}"
)
"""A tower of so many pixels, in patches of 16."""
TILES = (
    # A digit is 8 pixels wide in the whole picture, and 16 in its tile.
    f"model.encoder={{type: tiles, layouts: [[2, 2]], encoder: {SMALL % 16}}}",
    "stages.2.train.encoder={type: full, lr: 2e-4}",
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "llava-1.5": ("model.connector={type: mlp}",),
    "llava-next": TILES,
    "llava-next-base": (f"model.encoder={SMALL % 16}", *TILES[1:]),  # the whole picture alone
    "fused-encoders": (
        f"model.encoder={{type: concat, by: channel, encoders: [{SMALL % 32}, {{type: dinov2, "
        "layer: -1, preprocess: resize, config: {hidden_size: 64, num_hidden_layers: 2, "
        "num_attention_heads: 4, image_size: 32, patch_size: 8}}]}",
    ),
    "instructblip": (
        "model.connector={type: qformer, queries: 2, dim: 96, layers: 3, heads: 4, hidden: 256, "
        "every: 1, positions: 48, dropout: 0.0, text: instruction, tokenizer: {vocab_size: 512}}",
        # A Q-Former takes longer to learn than a projection: it is kept, and none is drawn anew.
        "stages.1.reset=[]",
    ),
}
VARIANTS["instructblip-deaf"] = (  # the same Q-Former, which reads nothing
    VARIANTS["instructblip"][0].replace(
        "text: instruction, tokenizer: {vocab_size: 512}", "text: none"
    ),
    *VARIANTS["instructblip"][1:],
)


def isthmus(*arguments: object) -> None:
    """Run a verb."""
    subprocess.run([sys.executable, "-m", "isthmus", *map(str, arguments)], check=True)


def sets(places: dict[str, object]) -> list[str]:
    """As options of the command line."""
    return [word for place, value in places.items() for word in ("--set", f"{place}={value}")]


def train(name: str, data: Path, out: Path, seed: int, more: list[str]) -> float:
    """All stages; returns the CPU minutes that they took."""
    places: dict[str, object] = {"seed": seed}
    files = {0: ("captions",), 1: ("captions",), 2: ("conversation", "reasoning", "detail")}
    for stage, kinds in files.items():
        places[f"stages.{stage}.steps"] = STEPS[stage]
        for at, kind in enumerate(kinds):
            places[f"stages.{stage}.data.{at}.file"] = data / f"{kind}.json"
            places[f"stages.{stage}.data.{at}.images"] = data / "images"
    changes = [word for each in (*VARIANTS[name], *more) for word in ("--set", each)]
    isthmus("train", HERE / "demo.yaml", "--out", out, *sets(places), *changes)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) / 60


def evaluate(name: str, data: Path, out: Path, folder: Path) -> dict[str, float]:
    """Shares of right answers in percent, `accuracy` those of all."""
    places: dict[str, object] = {
        "models": f"{{{name}: {out}}}",
        "controls": "[]",
        "benchmarks.digits.data": data / "questions.jsonl",
        "benchmarks.digits.images": data / "images",
    }
    isthmus("evaluate", HERE / "evaluate.yaml", "--out", folder, *sets(places))
    scores = json.loads((folder / name / "digits" / "scores.json").read_text())
    by: dict[str, float] = scores["by"]
    return by


def main() -> None:
    """Data, where there is none yet, training, and the questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--folder", type=Path, default=Path("demo-variants"))
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and data order")
    parser.add_argument("--set", action="append", default=[], help="as of `isthmus train`")
    given = parser.parse_args()
    folder, name = given.folder.resolve(), given.variant
    data = folder / "data"
    if not (data / "questions.jsonl").exists():
        write(data, train=SCENES, tests=QUESTIONS, seed=given.seed)
    minutes = train(name, data, folder / name, given.seed, given.set)
    by = evaluate(name, data, folder / name, folder / "evaluation" / name)
    said = ", ".join(f"{kind} {share:.1f}" for kind, share in by.items() if kind != "accuracy")
    print(f"{name}: {by['accuracy']:.1f} % of {QUESTIONS} questions right ({said})")
    print(f"CPU time of training: {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
