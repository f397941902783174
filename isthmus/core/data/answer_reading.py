"""What an answer says: a lettered choice, yes or no, a number, plain words.

Reading is exact: what says nothing, or two things, is None, and never a guess.
"""

from __future__ import annotations

import re
import unicodedata

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_BARE = re.compile(r"\(?([A-Z])[).:]?")
_LEADING = re.compile(r"\(?([A-Z])[.)] ")
_STATED = re.compile(r"[Tt]he answer is:? \(?([A-Z])(?![\w'])")
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def read_letter(reply: str) -> str | None:
    """The letter that a reply names: a bare one, one that it begins with as in `B. text`, or
    `The answer is B.`; None where it names none, or several in the last form."""
    text = reply.strip()
    if found := _BARE.fullmatch(text) or _LEADING.match(text):
        return found[1]
    stated = set(_STATED.findall(text))
    return stated.pop() if len(stated) == 1 else None


def read_choice(reply: str, options: int) -> str | None:
    """The letter that a reply names, if one of so many options has it."""
    letter = read_letter(reply)
    return letter if letter and LETTERS.index(letter) < options else None


def read_yes_no(reply: str) -> str | None:
    """`yes` or `no`, if the reply has one of these words and not the other."""
    said = {word for word in _WORD.findall(reply.lower()) if word in ("yes", "no")}
    return said.pop() if len(said) == 1 else None


def read_number(reply: str) -> float | None:
    """The number in a reply that has just one."""
    found = _NUMBER.findall(reply)
    return float(found[0].replace(",", "")) if len(found) == 1 else None


def plain(text: str) -> str:
    """Words in small letters with one space between, without marks around them."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return " ".join(filter(None, (word.strip(".,;:!?\"'()[]{}`*") for word in words)))


def occurs(words: str, said: str) -> bool:
    """Whether words stand in what is said, none of them cut; both are `plain`."""
    return f" {words} " in f" {said} "
