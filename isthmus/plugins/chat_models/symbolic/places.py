"""Where single things are in the picture, and where all of a sort are.

A thing is on the left where its whole box is in the left half. What reaches over the middle is
said to be nowhere, unless it lies around the very middle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from isthmus.core.contracts import Box
from isthmus.plugins.chat_models.symbolic.fact import Fact, ask
from isthmus.plugins.chat_models.symbolic.seen import Seen

WHERE = (
    "where in the {see} is the {one}?",
    "in which part of the {see} can the {one} be found?",
    "where should I look for the {one}?",
    "can you tell me where the {one} is?",
    "what is the position of the {one} in this {see}?",
)
SIDE = (
    "on which side of the {see} is the {one}?",
    "is the {one} in the left half or in the right half of the {see}?",
    "left or right: where is the {one}?",
)
HEIGHT = (
    "is the {one} in the upper half or in the lower half of the {see}?",
    "how high up in the {see} is the {one}, in the upper or in the lower half?",
)
ALL = (
    "are all of the {many} on one side of the {see}?",
    "are the {many} spread over both halves of the {see}, or only over one?",
    "on which side of the {see} are the {many}?",
)
MARGIN = 0.01


def side_of(box: Box) -> str:
    """`left`, `right`, or nothing."""
    return "left" if box[2] <= 0.5 - MARGIN else "right" if box[0] >= 0.5 + MARGIN else ""


def height_of(box: Box) -> str:
    """`upper`, `lower`, or nothing."""
    return "upper" if box[3] <= 0.5 - MARGIN else "lower" if box[1] >= 0.5 + MARGIN else ""


def place_of(box: Box) -> str:
    """As far as it is certain: `in the upper left quarter of the picture`, or nothing."""
    side, height = side_of(box), height_of(box)
    if side and height:
        return f"in the {height} {side} quarter of the picture"
    if side:
        return f"on the {side} side of the picture"
    if height:
        return f"in the {height} half of the picture"
    across, down = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if abs(across - 0.5) < 0.08 and abs(down - 0.5) < 0.08:
        return "around the middle of the picture"
    return ""


def places(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of each thing that is there once."""
    for category, box in seen.single.items():
        one = seen.noun(category).one
        if place := place_of(box):
            said = f"The {one} is {place}."
            yield Fact("place", (category,), said, ask(rng, WHERE, said, one=one))
        if side := side_of(box):
            said = f"The {one} is in the {side} half of the picture."
            yield Fact("side", (category,), said, ask(rng, SIDE, said, one=one))
        if height := height_of(box):
            said = f"The {one} is in the {height} half of the picture."
            yield Fact("height", (category,), said, ask(rng, HEIGHT, said, one=one))


def spread(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of things that are there several times, all of them counted."""
    for category, count in seen.counted.items():
        group = seen.groups[category]
        sides = {side_of(box) for box in group.boxes}
        if count < 2 or "" in sides:
            continue
        many = group.noun.many
        if len(sides) == 1:
            said = f"All of the {many} are in the {sides.pop()} half of the picture."
        else:
            said = f"There are {many} in both halves of the picture, on the left and on the right."
        yield Fact("spread", (category,), said, ask(rng, ALL, said, many=many))
