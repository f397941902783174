"""What a caption holds besides a description: orders to a model, marks of turns, markup.

Such a caption stays data, as long as nobody takes it for anything else; samples made of one say
so, that it can be looked at or left out.
"""

from __future__ import annotations

import re

LONGEST = 1000
"""Characters; longer texts are no captions."""

SIGNS = {
    "instruction": re.compile(
        r"(?i)\b(ignore|disregard|forget|override)\b.{0,40}\b(previous|prior|above|earlier|all|"
        r"any|instructions?|prompts?|rules?)\b|\bsystem prompt\b|\byou (are|must) now\b"
        r"|\bjailbreak"
    ),
    "placeholder": re.compile(r"(?i)<\s*/?\s*(image|video|img|pad|unk|eos|bos|s)\s*>"),
    "turn_mark": re.compile(
        r"(?im)<\|[^<>]{0,40}\|>|\[/?INST\]|<</?SYS>>|^\s*(user|assistant|system|human|gpt|"
        r"question|answer)\s*:|^\s*(=|#|-){3,}\s*$|\b(USER|ASSISTANT|SYSTEM|HUMAN)\s*:"
    ),
    "markup": re.compile(r"(?i)<\s*[!/]?\s*[a-z][^<>]{0,200}>|&#?\w{2,8};|javascript:"),
    "control": re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]"),
    "half_character": re.compile(r"[\ud800-\udfff]"),
    "address": re.compile(r"(?i)https?://|\bwww\."),
}
"""Name of a suspicion -> what it is seen by."""


def suspicions(text: str) -> tuple[str, ...]:
    """Names of what is suspicious in a text, sorted; none of an honest caption."""
    found = {name for name, sign in SIGNS.items() if sign.search(text[: 10 * LONGEST])}
    if len(text) > LONGEST:
        found.add("too_long")
    return tuple(sorted(found))
