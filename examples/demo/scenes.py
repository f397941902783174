"""Make the demo's data: captions, instruction data and test questions about scenes of digits.

From the known contents of the scenes (digits.py) come captions for pretraining and alignment,
instruction data of LLaVA's three kinds (conversation, detailed description, complex reasoning), and
test questions, each with exactly one right answer, about scans that no stage has seen.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from digits import LINES, PLACES, Scene, make_scene, split_scans

CONVERSATION = ("digit", "colour", "colour_of", "where", "count")
REASONING = ("sum", "larger", "compare")
TYPES = CONVERSATION + REASONING
BRIEF = ("What is in the picture?", "Describe the picture briefly.")
DESCRIBE = ("Describe the picture in detail.", "What does the picture show? Give every detail.")
Asked = tuple[str, str, str]  # group (a type, or a part of one), question, answer


def questions(scene: Scene) -> Iterator[Asked]:
    """Every question of every type that has exactly one right answer in this scene."""
    things, at = scene.things, {t.place: t for t in scene.things}
    digits = Counter(t.digit for t in things)
    for t in things:
        place = PLACES[t.place]
        yield "digit", f"Which digit is in the {place}?", str(t.digit)
        yield "colour", f"What colour is the digit in the {place}?", t.colour
        if digits[t.digit] == 1 and len(things) > 1:
            yield "colour_of", f"What colour is the {t.digit}?", t.colour
            yield "where", f"Where is the {t.digit}?", place
    yield "count all", "How many digits are there?", str(len(things))
    for line, (a, b) in LINES.items():
        yield "count line", f"How many digits are in the {line}?", str((a in at) + (b in at))
        if a in at and b in at:
            x, y = at[a].digit, at[b].digit
            yield "sum", f"What do the digits in the {line} add up to?", f"{x} + {y} = {x + y}"
            if x != y:
                asks = f"Which digit is larger in the {line}?"
                yield "larger", asks, f"{min(x, y)} < {max(x, y)}"
    for word, digit in (("largest", max(digits)), ("smallest", min(digits))):
        if digits[digit] == 1 and len(things) > 1:
            thing = next(t for t in things if t.digit == digit)
            yield "compare", f"What colour is the {word} digit?", str(thing)


def _comes_to(asked: Asked) -> str:
    # Reasoning shows its work and then answers: balanced is what it comes to.
    return asked[2].split()[-1] if asked[0] in REASONING else asked[2]


class Balance:
    """Chooses training questions so that within each type the answers come equally often.

    Equally in every layout, that is, among scenes with digits in the same cells: balanced over
    all scenes alone, lone digits were always asked about lines with none, and the model learnt to
    answer 0 to them without reading the question.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.seen: Counter[tuple[tuple[int, ...], str, str]] = Counter()

    def pick(self, layout: tuple[int, ...], asked: list[Asked], kind: str) -> list[Asked]:
        """The question of this type whose answer came least often so far, if there is any."""
        found = [a for a in asked if a[0].split()[0] == kind]
        self.rng.shuffle(found)
        found.sort(key=lambda a: self.seen[layout, a[0], _comes_to(a)])
        self.seen.update((layout, a[0], _comes_to(a)) for a in found[:1])
        return found[:1]


def held_out_questions(scenes: list[Scene], count: int, rng: random.Random) -> list[dict[str, str]]:
    """`count` rows, evenly of every type and, within a type, evenly of every answer."""
    pools: dict[str, dict[str, list[tuple[Scene, Asked]]]] = {t: {} for t in TYPES}
    for scene in scenes:
        for asked in questions(scene):
            pool = pools[asked[0].split()[0]]
            pool.setdefault(_comes_to(asked), []).append((scene, asked))
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


def instructions(scene: Scene, balance: Balance) -> Iterator[dict[str, Any]]:
    """Instruction data of LLaVA's three kinds about one scene."""
    asked, layout = list(questions(scene)), tuple(t.place for t in scene.things)
    # Looking up by digit takes longest to learn, so it is asked twice.
    talk = [*CONVERSATION[2:], "colour_of", "where", balance.rng.choice(CONVERSATION[:2])]
    for kind, types in (("conversation", talk), ("reasoning", list(REASONING))):
        turns = list(dict.fromkeys(a[1:] for t in types for a in balance.pick(layout, asked, t)))
        balance.rng.shuffle(turns)
        if turns:
            yield record(f"{scene.name}_{kind}", scene, turns)
    describe = (balance.rng.choice(DESCRIBE), scene.description(balance.rng))
    yield record(f"{scene.name}_detail", scene, [describe])


def instruction_files(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """One file a kind, so that a run can weigh them."""
    kinds = ("conversation", "reasoning", "detail")
    return {f"{kind}.json": [r for r in records if r["id"].endswith(kind)] for kind in kinds}


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
    balance = Balance(rng)
    notes = [s.annotation(s.captions(rng)) for s in scenes]
    files = {
        "annotations.json": notes,
        "captions.json": [
            record(f"{s.name}_{i}", s, [(rng.choice(BRIEF), caption)])
            for s, note in zip(scenes, notes, strict=True)
            for i, caption in enumerate(note["captions"])
        ],
        **instruction_files([r for s in scenes for r in instructions(s, balance)]),
        "test_annotations.json": [s.annotation(s.captions(rng)) for s in tested],
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content), encoding="utf-8")
    lines = [json.dumps(row) + "\n" for row in rows]
    (out / "questions.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write images/ and the JSON files into")
    parser.add_argument("--train", type=int, default=8000, help="scenes for training")
    parser.add_argument("--tests", type=int, default=500, help="test questions, one scene each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write(args.out, args.train, args.tests, args.seed)
