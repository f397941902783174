"""A scene as far as it can be relied on: what is there, how often, where, and in which colour.

Annotation is incomplete in known ways: crowds are not counted, small things are passed over, one
thing is boxed twice, captions see more than boxes. Whatever could make a statement false is left
out here, so that nothing above has to doubt.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from isthmus.core.contracts import Box, Scene
from isthmus.core.scene import Noun, noun_of, object_words, spelt, suspicions

MOST_COUNTED = 9
"""Boxes of a category; annotators stop counting at about ten."""
TWICE = 0.8
"""Overlap from which two boxes of a category may be one thing."""
COLLECTIVE = {
    *("group", "crowd", "herd", "flock", "bunch", "pile", "row", "rows", "lots", "lot", "many"),
    *("several", "dozens", "variety", "assortment", "pack", "stack", "line", "set", "team"),
    *("couple", "pair", "pairs", "multiple", "numerous", "various", "collection", "few", "some"),
}
SAID = re.compile(
    r"(?i)\b(caption|bounding box|given information|no|not|without|toy|statue|fake)\b"
)
"""Words of captions that make what they say unfit to be repeated as it stands."""
WORD = re.compile(r"[a-z]+|\d+")
WORDS = object_words()
NUMBERS = {spelt(count): count for count in range(1, 21)}


@dataclass(frozen=True, slots=True)
class Group:
    """All boxes of one category. `count` is None where it cannot be relied on."""

    noun: Noun
    boxes: tuple[Box, ...]
    crowd: bool
    count: int | None

    @property
    def only(self) -> Box | None:
        """The box of the only one."""
        return self.boxes[0] if self.count == 1 else None


class Seen:
    """A scene's reliable part."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.words = WORDS
        self.captions = tuple(
            _sentence(caption)
            for caption in scene.captions
            if WORD.search(caption.lower()) and not suspicions(caption) and not SAID.search(caption)
        )
        self.tokens = [WORD.findall(caption.lower()) for caption in scene.captions]

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Category -> its boxes, in the order of the annotation."""
        boxes: dict[str, list[Box]] = defaultdict(list)
        crowds = set()
        for each in self.scene.instances:
            if suspicions(each.category) or not WORD.search(each.category.lower()):
                continue
            boxes[each.category].append(each.box)
            if each.crowd:
                crowds.add(each.category)
        objects = [self.object(category) for category in boxes]
        return {
            category: Group(
                noun_of(category),
                tuple(found),
                category in crowds,
                None
                if category in crowds or objects.count(self.object(category)) > 1
                else self._count(category, found),
            )
            for category, found in boxes.items()
        }

    @cached_property
    def counted(self) -> dict[str, int]:
        """Categories whose number is certain."""
        return {name: group.count for name, group in self.groups.items() if group.count}

    @cached_property
    def single(self) -> dict[str, Box]:
        """Categories of which there is exactly one, and where that is."""
        return {name: box for name, group in self.groups.items() if (box := group.only)}

    def object(self, word: str) -> str:
        """The object that a category's name stands for; itself where no list has it."""
        low = " ".join(word.lower().replace("_", " ").split())
        return self.words.get(low) or low

    def noun(self, category: str) -> Noun:
        """How it is called."""
        return self.groups[category].noun if category in self.groups else noun_of(category)

    def _count(self, category: str, boxes: list[Box]) -> int | None:
        noun = noun_of(category)
        if not noun.counted or len(boxes) > MOST_COUNTED:
            return None
        if any(overlap(a, b) > TWICE for i, a in enumerate(boxes) for b in boxes[:i]):
            return None
        said = {n for tokens in self.tokens for n in self._numbers(category, tokens)}
        return len(boxes) if said <= {len(boxes)} else None

    def _numbers(self, category: str, tokens: list[str]) -> list[int]:
        """How many of it a caption speaks of; -1 for a plural or a collective without number."""
        numbers = []
        for at, token in enumerate(tokens):
            phrases = (token, " ".join(tokens[at : at + 2]))
            if self.object(category) not in {self.words.get(phrase) for phrase in phrases}:
                continue
            before = tokens[max(0, at - 3) : at]
            stated = [NUMBERS.get(word, int(word) if word.isdigit() else 0) for word in before]
            many = [number for number in stated if number > 1]
            if many:
                numbers.append(many[-1])
            elif COLLECTIVE & set(before) or _is_plural(token):
                numbers.append(-1)
        plural = [n for n in numbers if n == -1]
        several = len([i for i in self.scene.instances if i.category == category]) > 1
        # `Dogs on a bench` agrees with two boxes and with five, and disagrees with one.
        loose = several and not any(COLLECTIVE & set(tokens) for _ in plural)
        return [n for n in numbers if n > 0 or not loose]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (area(one) + area(other) - shared)


def area(box: Box) -> float:
    """Its share of the picture."""
    return (box[2] - box[0]) * (box[3] - box[1])


def _is_plural(token: str) -> bool:
    return token in ("people", "men", "women", "children") or (
        token.endswith("s") and not token.endswith("ss") and token not in ("bus", "skis", "tennis")
    )


def _sentence(caption: str) -> str:
    words = " ".join(caption.split()).replace(" ,", ",").replace(" .", ".").strip(" .")
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith(('!', '?')) else '.'}"
