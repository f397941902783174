"""How two things lie to each other, which of them is larger, and in what order several stand.

Only things that are there once. One is left of another where their boxes do not overlap from left
to right at all; what overlaps is in no relation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

from isthmus.core.contracts import Box
from isthmus.plugins.chat_models.symbolic.fact import Fact, ask, listed, pairs
from isthmus.plugins.chat_models.symbolic.seen import Seen, area

GAP = 0.005
LARGER = 1.5
"""Times that a box must be another's size to be called larger."""

LEFT_RIGHT = (
    "is the {a} to the left or to the right of the {b}?",
    "on which side of the {b} is the {a}?",
    "seen from here, where is the {a}, compared with the {b}?",
    "how does the {a} lie to the {b}: left or right of it?",
)
FURTHER = (
    "which is further to the left, the {a} or the {b}?",
    "of the {a} and the {b}, which one comes first from the left?",
)
IS_IT = (
    "is the {a} to the {way} of the {b}?",
    "would you say that the {a} is {way} of the {b}?",
    "does the {a} lie to the {way} of the {b} in this {see}?",
)
UP_DOWN = (
    "is the {a} above or below the {b} in the {see}?",
    "which is higher up in the {see}, the {a} or the {b}?",
    "compared with the {b}, is the {a} higher or lower in the {see}?",
)
SIZE = (
    "which takes up more room in the {see}, the {a} or the {b}?",
    "does the {a} or the {b} look larger in this {see}?",
    "which covers the larger part of the {see}: the {a} or the {b}?",
    "of the {a} and the {b}, which fills more of the {see}?",
)
ORDER = (
    "in what order do the {what} stand from left to right?",
    "going from left to right, which comes first, second and third: the {what}?",
    "sort these from left to right: the {what}.",
)


def left_of(one: Box, other: Box) -> bool:
    """Whether all of one is left of all of the other."""
    return one[2] + GAP <= other[0]


def above(one: Box, other: Box) -> bool:
    """Whether all of one is higher up than all of the other."""
    return one[3] + GAP <= other[1]


def sides(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Left and right."""
    for a, b in pairs(list(seen.single)):
        one, other = seen.single[a], seen.single[b]
        if not (left_of(one, other) or left_of(other, one)):
            continue
        way = "left" if left_of(one, other) else "right"
        names = {"a": seen.noun(a).one, "b": seen.noun(b).one}
        said = "The {a} is to the {way} of the {b}.".format(way=way, **names)
        yield Fact("left_right", (a, b), said, ask(rng, LEFT_RIGHT, said, **names))
        guess = rng.choice(("left", "right"))
        answer = f"{'Yes' if guess == way else 'No'}, {said[0].lower()}{said[1:]}"
        yield Fact("is_it", (a, b), said, ask(rng, IS_IT, answer, way=guess, **names))
        first = names["a"] if way == "left" else names["b"]
        answer = f"The {first} is further to the left."
        yield Fact("further", (a, b), said, ask(rng, FURTHER, answer, **names))


def heights(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Above and below, as the picture has it."""
    for a, b in pairs(list(seen.single)):
        one, other = seen.single[a], seen.single[b]
        if above(one, other) or above(other, one):
            way = "higher up" if above(one, other) else "lower"
            names = {"a": seen.noun(a).one, "b": seen.noun(b).one}
            said = "The {a} is {way} in the picture than the {b}.".format(way=way, **names)
            yield Fact("up_down", (a, b), said, ask(rng, UP_DOWN, said, **names))


def sizes(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Which of two covers more of the picture."""
    for a, b in pairs(list(seen.single)):
        ratio = area(seen.single[a]) / max(area(seen.single[b]), 1e-9)
        if ratio >= LARGER or ratio <= 1 / LARGER:
            names = {"a": seen.noun(a).one, "b": seen.noun(b).one}
            first, second = (names["a"], names["b"])[:: 1 if ratio > 1 else -1]
            said = f"The {first} takes up more of the picture than the {second}."
            yield Fact("size", (a, b), said, ask(rng, SIZE, said, **names))


def orders(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Three or four things from left to right."""
    row: list[str] = []
    for name in sorted(seen.single, key=lambda name: seen.single[name][0]):
        if not row or left_of(seen.single[row[-1]], seen.single[name]):
            row.append(name)
    row = row[:4]
    if len(row) < 3:
        return
    names = [seen.noun(name).one for name in row]
    mixed = rng.sample(names, len(names))
    said = f"From left to right they are {listed([f'the {name}' for name in names])}."
    steps = tuple(
        f"The {a} ends before the {b} begins, so it is to the left of it."
        for a, b in pairwise(names)
    )
    what = listed([mixed[0], *(f"the {name}" for name in mixed[1:])])
    forms = ORDER if len(row) == 3 else (ORDER[0], ORDER[2])
    yield Fact("order", tuple(row), said, ask(rng, forms, said, what=what), steps)
