"""What the symbolic teacher knows about a scene, piece by piece, and ways to ask for each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isthmus.core.contracts import Exchange

SEE = ("picture", "photo", "image")


@dataclass(frozen=True, slots=True)
class Fact:
    """One true statement about `subjects`, and a question that it answers. What takes thought
    has its `steps`: sentences that lead to the statement."""

    topic: str
    subjects: tuple[str, ...]
    statement: str
    exchange: Exchange
    steps: tuple[str, ...] = ()


def ask(rng: random.Random, forms: Sequence[str], answer: str, **words: str) -> Exchange:
    """One of the forms of a question, with these words in it, and its answer."""
    question = rng.choice(forms).format(see=rng.choice(SEE), **words)
    return Exchange(question[0].upper() + question[1:], answer)


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def capital(text: str) -> str:
    """With a capital in front."""
    return text[:1].upper() + text[1:]


def pairs(items: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every two, in both orders."""
    yield from ((a, b) for a in items for b in items if a != b)
