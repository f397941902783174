"""Words of a caption as COCO's evaluation sees them: Penn Treebank tokens in small letters,
without punctuation marks."""

from __future__ import annotations

import re

MARKS = set(".?!,:;-`'\"") | {"''", "``", "--", "...", "\u2026"}
QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
"""What the tokenizer writes for brackets; COCO's evaluation leaves them in, so they count."""

TOKEN = re.compile(
    r"""
      [a-z]+(?=n't\b) | n't\b                         # do n't
    | '(?:s|m|d|ll|re|ve)\b                           # he 's
    | [old]'[a-z]{2,}                                 # o'clock
    | (?:[a-z]\.){2,}[a-z]?\b | (?:[a-z]\.){2,}       # u.s.a
    | (?:mr|mrs|ms|dr|st|jr|sr|vs|ave|blvd|rd|ft)\.   # abbreviations keep their stop
    | \d+(?:[.,:/]\d+)+                               # 1,000  9:30  1/2
    | [^\W_]+(?:[-_/.][^\W_]+)*                       # well-known
    | \.{3} | -- | \S
    """,
    re.VERBOSE,
)
JOINED = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "wanna": ("wan", "na"),
}


def words_of(caption: str) -> list[str]:
    """The words, one after another."""
    found = TOKEN.findall(caption.translate(QUOTES).lower())
    kept = (BRACKETS.get(token, token) for token in found if token not in MARKS)
    return [word for token in kept for word in JOINED.get(token, (token,))]
