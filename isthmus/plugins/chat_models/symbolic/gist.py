"""What captions say as a whole, and what colour things have by them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from isthmus.core.scene import objects_in
from isthmus.plugins.chat_models.symbolic.colours import COLOURS, colours
from isthmus.plugins.chat_models.symbolic.fact import Fact, ask
from isthmus.plugins.chat_models.symbolic.seen import Seen

GIST = (
    "what is going on in this {see}?",
    "what does the {see} show?",
    "how would you sum up the {see}?",
    "what does one get to see in this {see}?",
    "can you say in a sentence what is to be seen?",
    "what kind of scene is this?",
    "in brief, what does one see here?",
    "please tell me what the {see} is about.",
)
COLOUR = (
    "what colour is the {one}?",
    "which colour does the {one} have?",
    "can you tell me the colour of the {one} in the {see}?",
    "I cannot make out the colour of the {one}. What is it?",
)
IS_COLOUR = (
    "is the {one} {guess}?",
    "would you call the {one} {guess}?",
    "someone says that the {one} is {guess}. Is that so?",
)
SEEN = (
    "is there {a} in the {see}, or more than one?",
    "does the {see} have {a} in it?",
    "are there any {many} to be seen?",
    "do you see {a} in this {see}?",
)
ALIKE = {"grey": "gray", "gray": "grey", "golden": "yellow", "silver": "grey", "beige": "white"}
"""Colours that one would not deny of the other."""


def gists(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """A caption, as it was written; the longest last."""
    for number, caption in enumerate(sorted(set(seen.captions), key=lambda c: (len(c), c))):
        yield Fact("gist", (str(number),), caption, ask(rng, GIST, caption))


def told(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Things that most captions name, where there are no boxes: no word on how many."""
    if seen.groups or len(seen.captions) < 2:
        return
    named = Counter(name for text in seen.captions for name in set(objects_in(text, seen.words)))
    for name, count in sorted(named.items()):
        if count > len(seen.scene.captions) / 2 and seen.noun(name).counted:
            noun = seen.noun(name)
            said = f"There is at least one {noun.one} in the picture."
            yes = f"Yes, the picture shows at least one {noun.one}."
            yield Fact("told", (name,), said, ask(rng, SEEN, yes, a=noun.a, many=noun.many))


def tints(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """The colour of each thing that has one for certain."""
    for category, colour in colours(seen).items():
        one = seen.noun(category).one
        said = f"The {one} is {colour}."
        yield Fact("colour", (category,), said, ask(rng, COLOUR, said, one=one))
        alike = {
            colour,
            ALIKE.get(colour, ""),
            *(c for c, other in ALIKE.items() if other == colour),
        }
        wrong = rng.choice(sorted(COLOURS - alike))
        guess = rng.choice((colour, wrong))
        answer = f"{'Yes' if guess == colour else 'No'}, the {one} is {colour}."
        yield Fact(
            "is_colour", (category,), said, ask(rng, IS_COLOUR, answer, one=one, guess=guess)
        )
