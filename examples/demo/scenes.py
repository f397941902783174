"""Make the demo's data: pictures of digits, annotation, what the teacher says, and test questions.

From the known contents of the scenes (digits.py) come captions for pretraining and alignment, and
the annotation, captions and boxes, of which `isthmus synthesize` makes instruction data with what
the teacher says (teacher.py). Test questions have exactly one right answer each, about scans that
no stage has seen.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from digits import Scene, make_scene, split_scans
from questions import TYPES, Asked, comes_to, questions
from teacher import replies

BRIEF = ("What is in the picture?", "Describe the picture briefly.")


def held_out_questions(scenes: list[Scene], count: int, rng: random.Random) -> list[dict[str, str]]:
    """`count` rows, evenly of every type and, within a type, evenly of every answer."""
    pools: dict[str, dict[str, list[tuple[Scene, Asked]]]] = {t: {} for t in TYPES}
    for scene in scenes:
        for asked in questions(scene.things):
            pool = pools[asked[0].split()[0]]
            pool.setdefault(comes_to(asked), []).append((scene, asked))
    rows: list[dict[str, str]] = []
    used: set[str] = set()
    for number, kind in enumerate(TYPES):
        wanted = len(rows) + (count + number) // len(TYPES)
        answers = sorted(pools[kind])
        rng.shuffle(answers)
        while len(rows) < wanted:
            for answer in answers[: wanted - len(rows)]:
                fresh = [p for p in pools[kind][answer] if p[0].name not in used]
                scene, (_, question, text) = rng.choice(fresh)
                used.add(scene.name)
                rows.append({"image": scene.name + ".png", "text": question, "answer": text,
                             "category": kind})  # fmt: skip
    return [{"question_id": str(i), **row} for i, row in enumerate(rows)]


def record(name: str, scene: Scene, turns: list[tuple[str, str]]) -> dict[str, Any]:
    """One sample as LLaVA writes it: the picture stands in the first question."""
    said = [
        {"from": who, "value": v}
        for qa in turns
        for who, v in zip(("human", "gpt"), qa, strict=True)
    ]
    said[0]["value"] = "<image>\n" + said[0]["value"]
    return {"id": name, "image": scene.name + ".png", "conversations": said}


def write(out: Path, train: int, tests: int, seed: int) -> None:
    """Write the pictures and every JSON file of the demo under `out`."""
    rng = random.Random(seed)
    seen, unseen = split_scans(seed)
    (out / "images").mkdir(parents=True, exist_ok=True)
    scenes = [make_scene(f"train_{i:05}", seen, rng) for i in range(train)]
    pool = [make_scene(f"test_{i:05}", unseen, rng) for i in range(4 * tests)]
    rows = held_out_questions(pool, tests, rng)
    asked = {row["image"] for row in rows}
    tested = [s for s in pool if s.name + ".png" in asked]
    for scene in scenes + tested:
        scene.picture.save(out / "images" / f"{scene.name}.png", compress_level=1)
    notes = [s.annotation(s.captions(rng)) for s in scenes]
    files = {
        "annotations.json": notes,
        "captions.json": [
            record(f"{s.name}_{i}", s, [(rng.choice(BRIEF), caption)])
            for s, note in zip(scenes, notes, strict=True)
            for i, caption in enumerate(note["captions"])
        ],
        "test_annotations.json": [s.annotation(s.captions(rng)) for s in tested],
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content), encoding="utf-8")
    for name, lines in (("questions", rows), ("replies", replies(notes, seed))):
        text = "".join(json.dumps(row) + "\n" for row in lines)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write images/ and the JSON files into")
    parser.add_argument("--train", type=int, default=8000, help="scenes for training")
    parser.add_argument("--tests", type=int, default=500, help="test questions, one scene each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write(args.out, args.train, args.tests, args.seed)
