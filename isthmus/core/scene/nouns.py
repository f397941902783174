"""Names of categories as nouns: an article, a plural, and whether they can be counted."""

from __future__ import annotations

from dataclasses import dataclass

PLURALS = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "knife": "knives",
    "sheep": "sheep",
    "fish": "fish",
    "deer": "deer",
    "mouse": "computer mice",
    "goose": "geese",
    "tooth": "teeth",
    "foot": "feet",
    "leaf": "leaves",
    "shelf": "shelves",
    "loaf": "loaves",
    "calf": "calves",
    "wolf": "wolves",
    "policeman": "policemen",
    "fireman": "firemen",
    "bus": "buses",
}
ONLY_PLURAL = {
    *("skis", "scissors", "glasses", "sunglasses", "pants", "trousers", "jeans", "shorts"),
    *("binoculars", "goggles", "headphones", "pliers", "tongs", "stairs", "clothes"),
}
"""One of them is a pair, so that their number is anybody's guess."""
NOT_COUNTED = {
    *("broccoli", "food", "grass", "snow", "water", "sand", "sky", "furniture", "luggage"),
    *("fruit", "rice", "bread", "cheese", "traffic", "rain", "hair", "jewelry", "clothing"),
}
SPOKEN = {
    "tv": "TV",
    "mouse": "computer mouse",
    "remote": "remote control",
    "orange": "orange",
    "tie": "necktie",
    "hair drier": "hair dryer",
    "sports ball": "ball",
}
"""Categories that people call otherwise."""
AN = ("hour", "honest", "heir")
A = ("uni", "use", "one", "euro", "ute")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
           "eighteen", "nineteen", "twenty")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Noun:
    """A category's name as people say it. `counted` is whether a number may stand before it."""

    category: str
    one: str
    many: str
    counted: bool

    @property
    def a(self) -> str:
        """`a dog`, `an umbrella`, `some broccoli`, `a pair of scissors`."""
        if self.category in ONLY_PLURAL:
            return f"a pair of {self.one}"
        if not self.counted:
            return f"some {self.one}"
        vowel = self.one[0].lower() in "aeiou" and not self.one.startswith(A)
        return f"{'an' if vowel or self.one.startswith(AN) else 'a'} {self.one}"

    @property
    def is_(self) -> str:
        """`is` or `are`, as the one of them takes it."""
        return "are" if self.category in ONLY_PLURAL else "is"

    def number(self, count: int) -> str:
        """`one dog`, `two dogs`, `no dogs`."""
        return f"{spelt(count)} {self.one if count == 1 else self.many}"


def noun_of(category: str) -> Noun:
    """The noun of a category, by rule where no list has it."""
    plain = " ".join(category.replace("_", " ").split())
    low = plain.lower()
    one = SPOKEN.get(low, plain)
    if low in ONLY_PLURAL or low in NOT_COUNTED:
        return Noun(low, one, one, counted=False)
    if low in PLURALS:
        return Noun(low, one, PLURALS[low], counted=one != PLURALS[low] or low == "sheep")
    head, _, last = one.rpartition(" ")
    many = f"{head} {PLURALS.get(last, _plural(last))}".strip()
    return Noun(low, one, many, counted=not low.endswith("s") or low.endswith(("ss", "us")))


def spelt(count: int) -> str:
    """A number in words, as far as people write it so."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"
