"""What can be asked about a scene of digits: every question that has exactly one right answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from digits import LINES, PLACES, Thing

CONVERSATION = ("digit", "colour", "colour_of", "where", "count")
REASONING = ("sum", "larger", "compare")
TYPES = CONVERSATION + REASONING
Asked = tuple[str, str, str]  # group (a type, or a part of one), question, answer


def questions(things: Sequence[Thing]) -> Iterator[Asked]:
    """Every question of every type that has exactly one right answer in a scene of these things."""
    at = {t.place: t for t in things}
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


def comes_to(asked: Asked) -> str:
    """What the answer says in the end: reasoning shows its work before."""
    return asked[2].split()[-1] if asked[0] in REASONING else asked[2]
