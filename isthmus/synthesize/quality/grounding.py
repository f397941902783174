"""Does the answer name what is there? Objects and numbers against boxes and captions.

Like CHAIR (arXiv:1809.02156): words are read as COCO's objects, with synonyms; an object that
neither a box nor a caption of the scene has is hallucinated. Only where somebody drew boxes, for
captions alone leave most of a picture unsaid. What is denied (`there is no dog`), supposed (`a dog
would`) or compared with is not claimed to be there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from isthmus.core.contracts import Exchange, Scene
from isthmus.core.scene import noun_of, object_words, objects_in, spelt

DENIED = re.compile(
    r"(?i)\b(no|not|n't|never|neither|nor|without|nobody|none|isn't|aren't|doesn't|don't|cannot|"
    r"can't|if|would|could|might|may|perhaps|possibly|probably|likely|suggest\w*|imagine|suppose|"
    r"such as|e\.g\.|like an?|rather than|instead of|unlike|as if|usually|often|typically)\b"
)
SENTENCE = re.compile(r"(?<=[.!?;])\s+")
NUMBERS = {spelt(count): count for count in range(2, 21)}
NUMBER = re.compile(r"(?i)\b(\d{1,3}|" + "|".join(NUMBERS) + r")((?:\s+[a-z]+){1,4})")


class Grounding:
    """Finds what is named and not there."""

    def __init__(self) -> None:
        self.words = object_words()

    def hallucinated(self, scene: Scene, exchanges: Sequence[Exchange]) -> list[str]:
        """Objects that an answer claims to see and that the annotation has not."""
        if not scene.instances:
            return []
        known = self._known(scene)
        named = {
            name: None
            for sentence in _claims(exchanges)
            for name in objects_in(sentence, self.words)
            if name not in known
        }
        return list(named)

    def miscounted(self, scene: Scene, exchanges: Sequence[Exchange]) -> list[str]:
        """`five dogs` where there are two boxes of dogs, no crowd, and no caption that says so."""
        boxes: Counter[str] = Counter()
        crowds = set()
        for each in scene.instances:
            name = self._object(each.category)
            boxes[name] += 1
            if each.crowd:
                crowds.add(name)
        told = {number for caption in scene.captions for number in self._numbers(caption)}
        wrong = {
            f"{count} x {name}": None
            for sentence in _claims(exchanges)
            for count, name in self._numbers(sentence)
            if boxes[name] and name not in crowds and (count, name) not in told
            if count > boxes[name]
        }
        return list(wrong)

    def _known(self, scene: Scene) -> set[str]:
        known = {self._object(each.category) for each in scene.instances}
        for caption in scene.captions:
            known |= set(objects_in(caption, self.words))
        for each in scene.instances:  # `a pair of skis`, `a computer mouse`: as nouns have it
            noun = noun_of(each.category)
            known |= set(objects_in(f"{noun.one} . {noun.many}", self.words))
        return known

    def _object(self, category: str) -> str:
        return self.words.get(category.lower()) or category.lower()

    def _numbers(self, text: str) -> Iterator[tuple[int, str]]:
        """(how many, of which object) a text says."""
        for said, after in NUMBER.findall(text):
            count = int(said) if said.isdigit() else NUMBERS[said.lower()]
            words = re.split(r"\b(?:and|or|of|in|on|with|to|is|are)\b", after)[0]
            for name in objects_in(words, self.words)[:1]:
                yield count, name


def _claims(exchanges: Sequence[Exchange]) -> Iterator[str]:
    """Sentences of answers that claim something to be there."""
    for each in exchanges:
        for sentence in SENTENCE.split(each.answer):
            if not DENIED.search(sentence):
                yield sentence
