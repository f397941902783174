"""Questions that take a step or two, for scenes of every sort: the reasoning of a teacher that
only says what is certain."""

from __future__ import annotations

import random
from collections.abc import Iterator

from isthmus.plugins.chat_models.symbolic.absent import absent
from isthmus.plugins.chat_models.symbolic.fact import Fact, ask, listed
from isthmus.plugins.chat_models.symbolic.relations import GAP, left_of
from isthmus.plugins.chat_models.symbolic.seen import Seen, area

LINE = (
    "could a straight upright line be drawn that has the {a} on one side and the {b} on the other?",
    "could one upright cut through the {see} keep the {a} and the {b} apart, and both whole?",
)
HALF = (
    "does the {one} take up more than half of the {see}, and how can one tell?",
    "is more of this {see} covered by the {one} or by what is around it?",
)
LOOKING = (
    "someone wants to find {a} and {b} in this {see}. Will they find both?",
    "would a search for {a} and for {b} in this {see} succeed?",
    "a child is told to point at {a} and at {b} here. Can it do both?",
)
CERTAIN = (
    "what can be said for certain about this {see}, and what has to stay open?",
    "what does this {see} tell us, and what can it not tell us?",
    "which conclusions does the {see} allow, and where would one begin to guess?",
    "if you had to describe this {see} as a careful witness, what would you say?",
)
MIRROR = (
    "if the {see} were mirrored, on which side of the {b} would the {a} be?",
    "held up to a mirror, where would the {a} in this {see} be, seen from the {b}?",
)
WALK = ("suppose that the {a} moved to the other side of the {b}. On which side would it be then?",)


def lines(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of two things: apart from left to right or not; and how they would lie in a mirror."""
    names = list(seen.single)
    for a, b in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        one, other = seen.single[a], seen.single[b]
        words = {"a": seen.noun(a).one, "b": seen.noun(b).one}
        left, right = left_of(one, other), left_of(other, one)
        if left or right:
            way, back = ("left", "right") if left else ("right", "left")
            first = f"The {words['a']} is to the {way} of the {words['b']}."
            said = "Yes, such a line can be drawn between the two."
            gap = f"Nothing of the {words['a']} reaches as far as the {words['b']}."
            yield Fact("line", (a, b), said, ask(rng, LINE, said, **words), (first, gap))
            said = f"So the {words['a']} would be to the {back} of the {words['b']}."
            step = "A mirror exchanges left and right."
            yield Fact("mirror", (a, b), said, ask(rng, MIRROR, said, **words), (first, step))
            yield Fact("walk", (a, b), said, ask(rng, WALK, said, **words), (first,))
        elif min(one[2], other[2]) - max(one[0], other[0]) > GAP:
            step = f"From left to right, the {words['a']} and the {words['b']} share a stretch."
            said = "No, every upright line that leaves one of them whole would cut the other or "
            said += "have both on the same side."
            yield Fact("line", (a, b), said, ask(rng, LINE, said, **words), (step,))


def halves(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """How much of the picture one thing takes up."""
    for category, box in seen.single.items():
        share, one = area(box), seen.noun(category).one
        if abs(share - 0.5) < 0.05:
            continue
        steps = (
            f"From side to side, the {one} reaches over {_tenths(box[2] - box[0])} of the picture.",
            f"From top to bottom it reaches over {_tenths(box[3] - box[1])} of it.",
        )
        if share > 0.5:
            said = f"A frame drawn around the {one} would cover more than half of the picture."
        else:
            said = f"So the {one} takes up less than half of the picture."
        yield Fact("half", (category,), said, ask(rng, HALF, said, one=one), steps)


def searches(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """One thing that is there and one that is not."""
    missing = absent(seen)
    for category, group in seen.groups.items():
        if not missing or not group.noun.counted:
            continue
        other = rng.choice(missing)
        there, not_there = group.noun, seen.noun(other)
        plural = len(group.boxes) > 1
        be, what = ("are", there.many) if plural else ("is", there.a)
        steps = (f"There {be} {what} in the picture.",
                 f"There {not_there.is_} no {not_there.one} in the picture.")  # fmt: skip
        said = "So only one of the two can be found."
        names = [there.a, not_there.a]
        rng.shuffle(names)
        exchange = ask(rng, LOOKING, said, a=names[0], b=names[1])
        yield Fact("search", (category, other), said, exchange, steps)


def certainties(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """What is seen, and that a picture has no before and after. Fits every scene."""
    steps = sorted(set(seen.captions), key=lambda caption: (-len(caption), caption))[:2]
    shown = [
        noun.many if noun.counted and len(group.boxes) > 1 else noun.a
        for group in seen.groups.values()
        for noun in (group.noun,)
    ]
    if shown:
        steps.append(f"There can be no doubt about {listed(shown[:4])}.")
    said = rng.choice(
        (
            "What happened before, and what comes next, cannot be told from a single moment.",
            "Who took the picture, and on which day, has to stay open.",
            "Names, reasons and feelings would be guesses, so a careful witness leaves them out.",
        )
    )
    yield Fact("certain", ("",), said, ask(rng, CERTAIN, said), tuple(steps))


def _tenths(share: float) -> str:
    """A rough share in words."""
    words = ("less than a tenth", "about a tenth", "about a fifth", "about three tenths",
             "about four tenths", "about half", "about six tenths", "about seven tenths",
             "about four fifths", "about nine tenths", "nearly all")  # fmt: skip
    return words[min(10, round(10 * share))] if share >= 0.05 else words[0]
