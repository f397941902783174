"""SimVLM in miniature: vision and language from scratch, by one objective, on scenes of digits.

    python examples/demo/simvlm.py [--folder demo-simvlm] [--seed 0] [--set stages.0.steps=300]

Pretraining has captions, of which a share joins the picture in the prefix, and text alone: the
captions of other scenes, whose pictures nobody sees. Then all of it is finetuned on the demo's
questions. What is printed is how many are answered right, about scans that no stage has seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from miniature import call, options, say_minutes, scores
from scenes import write

SCENES, QUESTIONS = 8000, 400
TEXT_ONLY = 8
"""One caption of so many loses its picture."""


def part_texts(data: Path) -> None:
    """Take the pictures from some captions, as `texts.json`; the others keep theirs."""
    captions = json.loads((data / "captions.json").read_text())
    texts = []
    for record in captions[::TEXT_ONLY]:
        answer = record["conversations"][1]
        texts.append(
            {"id": record["id"], "conversations": [{"from": "human", "value": ""}, answer]}
        )
    del captions[::TEXT_ONLY]
    for record in captions:
        # The picture alone: SimVLM's pretraining asks nothing.
        record["conversations"][0]["value"] = "<image>"
    (data / "captions.json").write_text(json.dumps(captions))
    (data / "texts.json").write_text(json.dumps(texts))


def main() -> None:
    """Data, both stages, and right answers by type of question."""
    given = options(__doc__, "demo-simvlm")
    data, run, out = (given.folder.resolve() / name for name in ("data", "run", "evaluation"))
    write(data, SCENES, QUESTIONS, given.seed)
    part_texts(data)
    places: dict[str, Any] = {"seed": given.seed}
    files = (("captions", "texts"), ("conversation", "reasoning"))
    for stage, names in enumerate(files):
        for at, name in enumerate(names):
            places[f"stages.{stage}.data.{at}.file"] = data / f"{name}.json"
            if name != "texts":
                places[f"stages.{stage}.data.{at}.images"] = data / "images"
    call("train", "simvlm.yaml", run, places, given.set)
    places = {"models.simvlm": run, "benchmarks.digits.data": data / "questions.jsonl",
              "benchmarks.digits.images": data / "images"}  # fmt: skip
    call("evaluate", "simvlm-evaluate.yaml", out, places, [])
    for name, score in scores(out / "simvlm" / "digits").items():
        print(f"{name}: {score:.1f} %")
    say_minutes()


if __name__ == "__main__":
    main()
