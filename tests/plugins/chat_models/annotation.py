"""An independent reader of answers about annotation: a few lines of its own, from text and boxes.

It shares nothing with the symbolic teacher. `false_in` says which sentence of an answer is not so.
"""

from __future__ import annotations

import re
from typing import Any

WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
NUMBERS = [
    *WORDS,
    *["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"],
]
SPECIAL = {"people": "person", "knives": "knife", "computer mice": "mouse",
           "computer mouse": "mouse", "sheep": "sheep", "buses": "bus", "necktie": "tie",
           "neckties": "tie", "ball": "sports ball", "balls": "sports ball",
           "remote control": "remote", "remote controls": "remote", "hair dryer": "hair drier",
           "hair dryers": "hair drier", "scissors": "scissors", "skis": "skis"}  # fmt: skip
SORTS = {
    "animals": "bird cat dog horse sheep cow elephant bear zebra giraffe",
    "vehicles": "bicycle car motorcycle airplane bus train truck boat",
    "pieces of fruit": "banana apple orange",
    "pieces of cutlery": "fork knife spoon",
}
"""COCO's supercategories, as far as they are summed up."""


def category(noun: str) -> str:
    noun = noun.lower().strip()
    noun = re.sub(r"^(an?|the|some|a pair of|no|of the) ", "", noun)
    noun = noun.removeprefix("pair of ")
    if noun in SPECIAL:
        return SPECIAL[noun]
    for ending in ("ches", "shes", "xes", "sses"):
        if noun.endswith(ending):
            return noun[:-2]
    if noun.endswith("s") and noun not in ("wine glass", "bus") and not noun.endswith("ss"):
        return noun[:-1]
    return noun


def _letters(text: str) -> str:
    return "".join(re.findall(r"[a-z0-9]", text.lower()))


def false_in(row: dict[str, Any], text: str) -> tuple[int, list[str]]:
    """How many statements of the four sorts a text makes, and which of them are false."""
    boxes: dict[str, list[list[float]]] = {}
    for each in row["instances"]:
        boxes.setdefault(each["category"].lower(), []).append(each["bbox"])
    told = {_letters(caption) for caption in row["captions"]}
    made, wrong = 0, []

    def check(holds: bool, what: str) -> None:
        nonlocal made
        made += 1
        if not holds:
            wrong.append(what)

    for sentence in re.split(r"(?<=[.!?:])\s+", text):
        if _letters(sentence) in told:
            continue  # a caption, word for word
        low = re.sub(r"^(yes|no), ", "", sentence.lower().rstrip(".:"))
        listed = re.match(r"(?:there (?:is|are)|i can see|i see|the picture shows) (.+)", low)
        if listed and " more " not in low:
            what = listed[1].removesuffix(" in the picture").removesuffix(" here")
            what = re.sub(r"^only ", "", what)
            for item in re.split(r", | and ", what):
                number = re.match(r"(\w+) (.+)", item)
                if item.startswith("no "):
                    check(category(item) not in boxes, sentence)
                elif number and number[2] in SORTS:
                    count = sum(len(boxes.get(name, [])) for name in SORTS[number[2]].split())
                    check(count == NUMBERS.index(number[1]) + 1, sentence)
                elif number and number[1] in WORDS:
                    count = len(boxes.get(category(number[2]), []))
                    check(count == WORDS.index(number[1]) + 1, sentence)
                elif " in both halves" not in low:
                    check(category(item) in boxes, sentence)
        for pattern, edge, other in (
            (r"the (.+) is to the left of the (.+)", 2, 0),
            (r"the (.+) is higher up in the picture than the (.+)", 3, 1),
        ):
            if found := re.match(pattern, low):
                a, b = boxes[category(found[1])], boxes[category(found[2])]
                check(len(a) == len(b) == 1 and a[0][edge] <= b[0][other], sentence)
        for pattern, edge, other in (
            (r"the (.+) is to the right of the (.+)", 0, 2),
            (r"the (.+) is lower in the picture than the (.+)", 1, 3),
        ):
            if found := re.match(pattern, low):
                a, b = boxes[category(found[1])], boxes[category(found[2])]
                check(len(a) == len(b) == 1 and a[0][edge] >= b[0][other], sentence)
    return made, wrong


def form_of(question: str, names: set[str]) -> str:
    """A question without its things and numbers: what is left is its form."""
    masked = question.lower()
    for name in sorted(names, key=len, reverse=True):
        masked = re.sub(rf"\b(an?|some) (pair of )?{re.escape(name)}\b", "x", masked)
        masked = re.sub(rf"\b{re.escape(name)}\b", "x", masked)
    for word in WORDS[1:]:
        masked = re.sub(rf"\b{word}\b", "n", masked)
    masked = re.sub(r"\b(picture|photo|image)\b", "picture", masked)
    masked = re.sub(r"\b(red|green|blue|yellow|brown|black|white|gr[ae]y|pink|purple|beige|"
                    r"turquoise|silver|golden)\b", "c", masked)  # fmt: skip
    return re.sub(r"\b(left|right)\b", "side", masked)
