"""PaLI in miniature: scenes of digits, described and asked about in English, German and Spanish.

    python examples/demo/pali.py [--folder demo-pali] [--seed 0] [--set stages.1.steps=300]

The prompt says the task and the language, as PaLI's does. What is printed is how many questions are
answered right in each language, about scans that no stage has seen; every language is asked the
same questions about the same scenes.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from digits import Scan, Scene, make_scene, split_scans
from languages import LANGUAGES, Language
from miniature import ask, options, say_minutes, train
from scenes import record

SCENES, QUESTIONS = 8000, 200
ASKED = 3
"""Questions in each language about a scene of training."""
KINDS = ("digit", "colour", "colour_of", "where", "count")


def about(scene: Scene, says: Language) -> dict[str, list[tuple[str, str]]]:
    """Question and answer of every kind that has exactly one right answer."""
    digits = Counter(thing.digit for thing in scene.things)
    asked: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    for thing in scene.things:
        words = {"place": says.places[thing.place], "digit": str(thing.digit)}
        colour = says.colours[thing.colour]
        answers = {"digit": words["digit"], "colour": colour}
        if digits[thing.digit] == 1 and len(scene.things) > 1:
            answers |= {"colour_of": colour, "where": words["place"]}
        for kind, answer in answers.items():
            asked[kind].append((says.questions[kind].format(**words), answer))
    asked["count"].append((says.questions["count"], str(len(scene.things))))
    return asked


def caption(scene: Scene, says: Language, rng: random.Random) -> str:
    """Place, digit and colour of everything, or digit, place and colour."""
    order = rng.choice(("{place} {digit} {colour}", "{digit} {place} {colour}"))
    things = (
        scene.things if order.startswith("{place}") else rng.sample(scene.things, len(scene.things))
    )
    return ", ".join(
        order.format(place=says.places[t.place], digit=t.digit, colour=says.colours[t.colour])
        for t in things
    )


def write(folder: Path, seed: int) -> None:
    """Scenes, captions and questions of training in every language, and questions to be asked."""
    rng = random.Random(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    seen, unseen = split_scans(seed)
    captions, questions = [], []
    for scene in scenes("train", SCENES, seen, rng, folder):
        for code, says in LANGUAGES.items():
            name = f"{scene.name}_{code}"
            said = caption(scene, says, rng)
            captions.append(record(name, scene, [(f"Generate the alt_text in {code}:", said)]))
            pairs = [pair for found in about(scene, says).values() for pair in found[:1]]
            pairs = rng.sample(pairs, min(ASKED, len(pairs)))
            questions += [
                record(f"{name}_{at}", scene, [(f"Answer in {code}: {question}", answer)])
                for at, (question, answer) in enumerate(pairs)
            ]
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "questions.json").write_text(json.dumps(questions))
    rows: list[dict[str, Any]] = []
    for at, scene in enumerate(scenes("test", QUESTIONS, unseen, rng, folder)):
        kinds = [kind for kind, found in about(scene, LANGUAGES["en"]).items() if found]
        kind = kinds[at % len(kinds)]
        which = rng.randrange(len(about(scene, LANGUAGES["en"])[kind]))
        for code, says in LANGUAGES.items():
            question, answer = about(scene, says)[kind][which]
            rows.append({
                "question_id": f"{scene.name}_{code}", "image": f"{scene.name}.png",
                "text": f"Answer in {code}: {question}", "answer": answer, "category": code,
            })  # fmt: skip
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "test_questions.jsonl").write_text("".join(lines))


def scenes(name: str, count: int, scans: list[Scan], rng: random.Random, to: Path) -> list[Scene]:
    """So many scenes, whose pictures are in `images`."""
    made = [make_scene(f"{name}_{number:05}", scans, rng) for number in range(count)]
    for scene in made:
        scene.picture.save(to / "images" / f"{scene.name}.png", compress_level=1)
    return made


def main() -> None:
    """Data, both stages, and right answers by language."""
    given = options(__doc__, "demo-pali")
    data, run, out = (given.folder.resolve() / name for name in ("data", "run", "evaluation"))
    write(data, given.seed)
    train("pali", data, run, given, (("captions",), ("questions", "captions")))
    ask("pali", run, "questions", data / "test_questions.jsonl", out)
    say_minutes()


if __name__ == "__main__":
    main()
