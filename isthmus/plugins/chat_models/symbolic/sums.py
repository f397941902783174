"""Comparing, adding and taking away what is counted."""

from __future__ import annotations

import random
from collections.abc import Iterator

from isthmus.core.scene import objects_in, spelt
from isthmus.plugins.chat_models.symbolic.fact import Fact, ask, capital, listed
from isthmus.plugins.chat_models.symbolic.seen import Seen

MORE = (
    "are there more {a} or more {b} in the {see}?",
    "which does the {see} show more of, {a} or {b}?",
    "of {a} and {b}, which are greater in number here?",
    "compare the numbers of {a} and {b} in this {see}.",
)
DIFFERENCE = (
    "how many more {a} than {b} are there?",
    "by how many do the {a} outnumber the {b}?",
)
SAME = (
    "is the number of {a} the same as the number of {b}?",
    "are there as many {a} as {b} in the {see}?",
)
TOTAL = (
    "how many {a} and {b} are there altogether?",
    "what do the {a} and the {b} in this {see} come to, added up?",
    "if I count the {a} and the {b} together, what is the total?",
)
LEAVE = (
    "if one {a} went away, how many {a_many} and {b_many} together would be left?",
    "suppose that one {a} left the {see}. How many {a_many} and {b_many} remain in all?",
)
KIND = (
    "how many {kind} are there in the {see} in all?",
    "taking all sorts together, how many {kind} does the {see} show?",
    "what is the total number of {kind} here?",
)
PAIRS = (
    "could each {a} have {its} of its own here?",
    "is there one {b} for every {a} in this {see}?",
)
KINDS = {
    "animals": "bird cat dog horse sheep cow elephant bear zebra giraffe",
    "vehicles": "bicycle car motorcycle airplane bus train truck boat",
    "pieces of fruit": "apple banana orange",
    "pieces of cutlery": "fork knife spoon",
}
VAGUE = {
    "animals": {"animal", "animals", "herd", "pet", "pets"},
    "vehicles": {"vehicles", "traffic"},
}


def sums(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of two categories."""
    names = list(seen.counted)
    for a, b in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        if seen.counted[a] < seen.counted[b]:
            a, b = b, a
        if seen.counted[a] > 1:  # one of each is not worth a sum
            yield from _pair(seen, rng, a, b)


def _pair(seen: Seen, rng: random.Random, a: str, b: str) -> Iterator[Fact]:
    m, n = seen.counted[a], seen.counted[b]
    one, other = seen.noun(a), seen.noun(b)
    both = f"{one.number(m)} and {other.number(n)}"
    there = f"There {'is' if m == 1 else 'are'} {both}."
    words = {"a": one.many, "b": other.many}
    if m > n:
        said = f"There are more {one.many} than {other.many}: {both}."
        steps = (f"There are {one.number(m)}.", f"There {_be(n)} {other.number(n)}.",
                 f"{capital(spelt(m))} is more than {spelt(n)}.")  # fmt: skip
        yield Fact("more", (a, b), said, ask(rng, MORE, said, **words), steps)
        more = "is one more" if m - n == 1 else f"are {spelt(m - n)} more"
        gap = f"There {more} {one.one if m - n == 1 else one.many} than {other.many}: {both}."
        yield Fact("difference", (a, b), said, ask(rng, DIFFERENCE, gap, **words), steps)
    answer = f"Yes, there {_be(m)} {both}." if m == n else f"No, there {_be(m)} {both}."
    yield Fact("same", (a, b), there, ask(rng, SAME, answer, **words))
    steps = (f"There {_be(m)} {one.number(m)}.", f"There {_be(n)} {other.number(n)}.",
             f"{capital(spelt(m))} and {spelt(n)} make {spelt(m + n)}.")  # fmt: skip
    total = f"{capital(both)} make {spelt(m + n)} altogether."
    yield Fact("total", (a, b), total, ask(rng, TOTAL, total, **words), steps)
    if m > 1:
        left = f"Then {spelt(m + n - 1)} of them would be left."
        forms = {"a": one.one, "a_many": one.many, "b_many": other.many}
        away = (*steps, f"One less than {spelt(m + n)} is {spelt(m + n - 1)}.")
        yield Fact("leave", (a, b), left, ask(rng, LEAVE, left, **forms), away)
    first, second, x, y = rng.choice(((one, other, m, n), (other, one, n, m)))
    if y >= x:
        said = f"Yes, there would be enough: {both}."
    else:
        said = f"No, there would not be enough: there {_be(m)} {both}."
    names = {"a": first.one, "b": second.one, "its": second.a}
    pair_steps = (f"There {_be(x)} {first.number(x)}.", f"There {_be(y)} {second.number(y)}.")
    yield Fact("pairs", (a, b), said, ask(rng, PAIRS, said, **names), pair_steps)


def kinds(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of all animals, all vehicles: where each sort is counted, and captions speak of no other."""
    told = {name for text in seen.scene.captions for name in objects_in(text, seen.words)}
    said = {token for tokens in seen.tokens for token in tokens}
    for kind, members in KINDS.items():
        names = [name for name in seen.groups if name in members.split()]
        others = told & set(members.split()) - {seen.object(name) for name in names}
        sure = all(name in seen.counted for name in names)
        if len(names) < 2 or not sure or others or said & VAGUE.get(kind, set()):
            continue
        parts = [seen.noun(name).number(seen.counted[name]) for name in names]
        total = sum(seen.counted[name] for name in names)
        answer = f"There are {spelt(total)} {kind}: {listed(parts)}."
        steps = tuple(f"Among the {kind} {_be(seen.counted[n])} {part}."
                      for n, part in zip(names, parts, strict=True))  # fmt: skip
        yield Fact("kind", tuple(names), answer, ask(rng, KIND, answer, kind=kind), steps)


def _be(count: int) -> str:
    return "is" if count == 1 else "are"
