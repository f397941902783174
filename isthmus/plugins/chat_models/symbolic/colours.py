"""Colours of things, where captions say them without a doubt.

`A red bus` is about the bus; `a red bus stop` and `a black and white photo of a bus` are not. A
colour counts where one word names it right before a singular noun of a thing that is there once,
nothing that could belong to the noun follows, and no caption gives the thing another.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from isthmus.plugins.chat_models.symbolic.seen import Seen

COLOURS = {
    *("red", "green", "blue", "yellow", "brown", "black", "white", "grey", "gray", "pink"),
    *("purple", "beige", "turquoise", "silver", "golden"),
}
BEFORE = {"a", "an", "the", "one", "large", "big", "small", "little", "old", "tall", "long", "cute"}
AFTER = {
    *(
        "",
        "is",
        "was",
        "in",
        "on",
        "at",
        "with",
        "sitting",
        "standing",
        "lying",
        "laying",
        "parked",
    ),
    *("sits", "stands", "lies", "lays", "that", "which", "by", "near", "next", "behind", "under"),
    *("beside", "walking", "running", "flying", "driving", "traveling", "travelling", "are"),
    *("looking", "looks", "sleeping", "sleeps", "resting", "holding", "being", "from", "to"),
}
LINKS = {"is", "are", "and", "or", ","}
WORD = re.compile(r"[a-z]+|[.,;!?]")


def colours(seen: Seen) -> dict[str, str]:
    """Category -> its colour."""
    said: dict[str, set[str]] = defaultdict(set)
    for caption in seen.scene.captions:
        for name, colour in _named(WORD.findall(caption.lower()), seen):
            said[name].add(colour)
    found = {}
    for category in seen.single:
        names = said.get(seen.object(category), set())
        if len(names) == 1 and "?" not in names:
            found[category] = next(iter(names))
    return found


def _named(tokens: list[str], seen: Seen) -> Iterator[tuple[str, str]]:
    """(object, colour) of every colour that stands near a noun; `?` where it is in doubt."""
    padded = ["", "", *tokens, "", ""]
    for at, token in enumerate(padded):
        if token not in COLOURS:
            continue
        for before in padded[max(0, at - 5) : at] if padded[at - 1] in LINKS else ():
            if seen.words.get(before):  # `the bus is red and white`
                yield seen.words[before], "?"
        sure = padded[at - 1] in BEFORE
        for end in (at + 3, at + 2):
            name = seen.words.get(" ".join(padded[at + 1 : end]))
            if name:
                follows = padded[end]
                sure = sure and (follows in AFTER or not follows.isalpha())
                yield name, token if sure and name not in ("person", "orange") else "?"
                break
        else:
            # `white and brown dog`, `blue striped umbrella`: a colour of it, but not the colour.
            for near in padded[at + 1 : at + 5]:
                if seen.words.get(near):
                    yield seen.words[near], "?"
                    break
