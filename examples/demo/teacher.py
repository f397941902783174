"""The demo's teacher: it sees no picture, reads captions and boxes, and writes what they say.

What it answers to each request of `isthmus synthesize` is recorded, by the request's id, for the
teacher `replay` to say: see synthesize.yaml beside this file. A language model behind an endpoint
would take its place where scenes are more than digits.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from digits import PLACES, Thing
from questions import CONVERSATION, REASONING, Asked, comes_to, questions

CAPTION = re.compile(r"(\w+) (\d) (\w+)")


def things_of(annotation: dict[str, Any]) -> tuple[Thing, ...]:
    """What is in a scene: digits and places from its boxes, colours from its first caption."""
    colours = {place: colour for place, _, colour in CAPTION.findall(annotation["captions"][0])}
    found = []
    for each in annotation["instances"]:
        left, top, right, bottom = each["bbox"]
        place = int((left + right) / 2 > 0.5) + 2 * int((top + bottom) / 2 > 0.5)
        colour = colours[PLACES[place]]
        found.append(Thing(int(each["category"]), colour, place, (left, top, right, bottom)))
    return tuple(found)


def description(things: tuple[Thing, ...], rng: random.Random) -> str:
    """One sentence for each digit, in any order."""
    says = [f"The {t.digit} is {t.colour} and in the {PLACES[t.place]}." for t in things]
    start = "There is 1 digit." if len(things) == 1 else f"There are {len(things)} digits."
    return " ".join([start, *rng.sample(says, len(things))])


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
        found.sort(key=lambda a: self.seen[layout, a[0], comes_to(a)])
        self.seen.update((layout, a[0], comes_to(a)) for a in found[:1])
        return found[:1]


def replies(annotations: list[dict[str, Any]], seed: int) -> Iterator[dict[str, str]]:
    """What the teacher says of each scene, in each of LLaVA's three kinds."""
    rng = random.Random(seed)
    balance = Balance(rng)
    for note in annotations:
        things = things_of(note)
        asked, layout = list(questions(things)), tuple(t.place for t in things)
        # Looking up by digit takes longest to learn, so it is asked twice.
        talk = [*CONVERSATION[2:], "colour_of", "where", rng.choice(CONVERSATION[:2])]
        for kind, types in (("conversation", talk), ("reasoning", list(REASONING))):
            turns = list(
                dict.fromkeys(a[1:] for t in types for a in balance.pick(layout, asked, t))
            )
            rng.shuffle(turns)
            said = {"turns": [{"question": question, "answer": says} for question, says in turns]}
            if turns:
                yield {"id": f"{note['id']}/{kind}", "text": json.dumps(said)}
        yield {"id": f"{note['id']}/detail", "text": description(things, rng)}
