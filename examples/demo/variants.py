"""The demo with other parts: LLaVA-1.5's connector, LLaVA-NeXT's tiles, fused encoders,
InstructBLIP's Q-Former.

    python examples/demo/variants.py llava-next [--folder demo-variants] [--seed 0] [--set ...]

The data, the stages and the questions are those of demo.yaml; the parts are changed by `--set`, as
VARIANTS says. Printed are the right answers to questions about scenes
made of scans that no stage has seen, by type of question, and the CPU time that training took.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from demodata import HERE, QUESTIONS, data_at, make_data, planned
from jobs import Job, console, isthmus, run_jobs, settings

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


def train(name: str, folder: Path, seed: int, more: list[str]) -> float | None:
    """All stages; returns the CPU seconds that they took, where none was killed."""
    changes = (f"seed={seed}", *VARIANTS[name], *more)
    options = [word for each in changes for word in ("--set", each)]
    config = str(HERE / "demo.yaml")
    log = folder / f"train-{name}.log"
    steps = sum(stage.steps for stage in planned().stages)
    job = Job(log, folder / name, steps, "train", config, *data_at(folder), *options)
    run_jobs([job], at_once=1)
    return job.cost.cpu_seconds


def evaluate(name: str, folder: Path) -> dict[str, float]:
    """Shares of right answers in percent, `accuracy` those of all."""
    places = {
        "benchmarks.digits.data": folder / "data" / "questions.jsonl",
        "benchmarks.digits.images": folder / "data" / "images",
    }
    only = ("--set", f"models={{{name}: {folder / name}}}", "--set", "controls=[]")
    out = folder / "evaluation" / name
    config = str(HERE / "evaluate.yaml")
    isthmus("evaluate", config, *only, *settings(places), "--out", str(out))
    by: dict[str, float] = json.loads((out / name / "digits" / "scores.json").read_text())["by"]
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
    make_data(folder, seed=given.seed)
    seconds = train(name, folder, given.seed, given.set)
    by = evaluate(name, folder)
    said = ", ".join(f"{kind} {share:.1f}" for kind, share in by.items() if kind != "accuracy")
    took = "" if seconds is None else f", {seconds / 60:.1f} CPU minutes of training"
    answered = f"{by['accuracy']:.1f} % of {QUESTIONS} questions right ({said})"
    console.print(f"{name}: {answered}{took}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
