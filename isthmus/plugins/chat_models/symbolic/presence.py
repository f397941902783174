"""What is there, how many of it, and what is not there."""

from __future__ import annotations

import random
from collections.abc import Iterator

from isthmus.plugins.chat_models.symbolic.absent import absent
from isthmus.plugins.chat_models.symbolic.fact import Fact, ask, capital, listed
from isthmus.plugins.chat_models.symbolic.seen import Seen

IS_THERE = (
    "is there {a} in the {see}?",
    "can you see {a} in this {see}?",
    "does the {see} show {a}?",
    "do you notice {a} anywhere in the {see}?",
    "can {a} be seen here?",
    "would I find {a} in this {see}?",
    "does {a} appear in the {see}?",
    "I am looking for {a}. Is there one to be seen?",
)
ARE_THERE = (
    "are there {many} in the {see}?",
    "can you see any {many} in this {see}?",
    "does the {see} show any {many}?",
    "do any {many} appear here?",
    "would I find {many} in this {see}?",
)
HOW_MANY = (
    "how many {many} are there in the {see}?",
    "how many {many} can you see?",
    "what is the number of {many} in this {see}?",
    "count the {many}, please. How many are there?",
    "could you tell me how many {many} the {see} shows?",
    "I would like to know the number of {many} here. What is it?",
    "of {many}, how many does the {see} have?",
)
MORE_THAN_ONE = (
    "is there more than one {one} in the {see}?",
    "does the {see} show several {many}, or just one?",
)
EXACTLY = (
    "are there exactly {guess} in the {see}?",
    "is it true that the {see} shows {guess}?",
    "someone says that there are {guess} here. Is that right?",
)
WHICH_NOT = (
    "which of these is not in the {see}: {choices}?",
    "of {choices}, which one is missing from the {see}?",
    "{choices}: which of them does the {see} not show?",
)
WHAT = (
    "what things can you see in the {see}?",
    "which objects does the {see} show?",
    "can you list what is visible in this {see}?",
    "what is there to be seen?",
    "name some of the things in this {see}.",
)
YES = ("Yes, there {be} {what} in the picture.", "Yes, I can see {what}.",
       "Yes, the picture shows {what}.")  # fmt: skip
NO = ("No, there {be} no {what} in the picture.", "No, I see no {what} here.",
      "No, the picture shows no {what}.")  # fmt: skip
COUNT = ("There {be} {what} in the picture.", "I can see {what}.", "The picture shows {what}.")


def presence(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of each category that is there."""
    for category, group in seen.groups.items():
        noun = group.noun
        plural = noun.counted and (group.count or len(group.boxes)) > 1
        what = noun.a if not plural else noun.number(group.count) if group.count else noun.many
        be = "are" if plural else "is"
        forms = ARE_THERE if plural and rng.random() < 0.7 else IS_THERE
        answer = rng.choice(YES).format(be=be, what=what)
        exchange = ask(rng, forms, answer, a=noun.a, many=noun.many)
        yield Fact("presence", (category,), f"There {be} {what} in the picture.", exchange)


def counts(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of each category whose number is certain."""
    for category, count in seen.counted.items():
        noun = seen.groups[category].noun
        said, be = noun.number(count), "is" if count == 1 else "are"
        statement = f"There {be} {said} in the picture."
        words = {"one": noun.one, "many": noun.many}
        answer = rng.choice(COUNT).format(be=be, what=said)
        yield Fact("count", (category,), statement, ask(rng, HOW_MANY, answer, **words))
        more = f"Yes, there are {said}." if count > 1 else f"No, there is only one {noun.one}."
        yield Fact("several", (category,), statement, ask(rng, MORE_THAN_ONE, more, **words))
        wrong = rng.choice([n for n in (count - 1, count + 1, count + 2) if n > 1])
        guess = rng.choice((wrong, max(count, 2)))
        answer = f"There {be} {said}."
        answer = f"Yes. {answer}" if guess == count else f"No. {answer}"
        exchange = ask(rng, EXACTLY, answer, guess=noun.number(guess))
        yield Fact("exactly", (category,), statement, exchange)


def absence(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """Of a few categories that are surely not there."""
    missing = absent(seen)
    for category in rng.sample(missing, min(4, len(missing))):
        noun = seen.noun(category)
        plural = not noun.counted and noun.a.startswith("a pair")
        answer = rng.choice(NO).format(be="are" if plural else "is", what=noun.one)
        statement = f"There {'are' if plural else 'is'} no {noun.one} in the picture."
        yield Fact("absence", (category,), statement, ask(rng, IS_THERE, answer, a=noun.a))
    if missing and len(seen.groups) > 1:
        category = rng.choice(missing)
        noun, two = seen.noun(category), rng.sample(list(seen.groups), 2)
        names = [seen.noun(name).a for name in (category, *two)]
        rng.shuffle(names)
        plural = not noun.counted and noun.a.startswith("a pair")
        answer = f"There {'are' if plural else 'is'} no {noun.one} in the picture."
        exchange = ask(rng, WHICH_NOT, answer, choices=listed(names))
        yield Fact("which_not", (category,), answer, exchange)


def things(seen: Seen, rng: random.Random) -> Iterator[Fact]:
    """All at once."""
    if len(seen.groups) < 2:
        return
    names = [
        noun.number(group.count)
        if group.count and group.count > 1
        else noun.many
        if noun.counted and len(group.boxes) > 1
        else noun.a
        for group in seen.groups.values()
        for noun in (group.noun,)
    ]
    statement = f"The picture shows {listed(names[:8])}."
    answer = rng.choice((statement, f"I can see {listed(names[:8])}."))
    yield Fact("things", tuple(seen.groups), capital(statement), ask(rng, WHAT, answer))
