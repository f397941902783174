"""Checks that need no annotation: of a reply as a whole, and of the words of its exchanges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from isthmus.core.contracts import ChatReply, Exchange
from isthmus.errors import Rejected
from isthmus.synthesize.config import QualityConfig

REFUSAL = re.compile(
    r"(?i)\A\W*(i'?m (sorry|unable|afraid)|i am (sorry|unable|afraid|not able)|sorry\b|"
    r"i (cannot|can't|can not|won't|will not|must decline)\b(?! (see|tell|make out|find))|"
    r"as an ai\b|as a language model|unfortunately, i)"
)
SOURCE = re.compile(
    r"(?i)\b(captions?|bounding[ -]?box(es)?|(given|provided|above|supplied) (information|"
    r"descriptions?|sentences?|data|text|context|list|annotations?)|annotations?|coordinates?|"
    r"according to the (sentences?|descriptions?|list|text)|bbox(es)?|object list|"
    r"(sentences?|descriptions?) (say|says|state|states|mention|mentions))\b"
)
NUMBERS = re.compile(r"[\[(]\s*[01]?\.\d+\s*,|\b0\.\d{2,}\b(?!\s*(%|percent|km|m\b|miles))")
MARKS = re.compile(
    r"(?i)<\s*/?\s*(image|video|im_start|im_end|s|pad|unk)\s*>|<\|[^<>]{0,40}\|>|\[/?INST\]"
    r"|^\s*(USER|ASSISTANT|SYSTEM|HUMAN|GPT)\s*:",
    re.M,
)
ENGLISH = {
    *("the", "a", "an", "is", "are", "was", "in", "on", "of", "and", "to", "it", "this", "that"),
    *("there", "with", "at", "no", "yes", "i", "you", "he", "she", "they", "for", "by", "as"),
    *("be", "can", "not", "from", "has", "have", "one", "two", "its", "their", "his", "her"),
}
"""Words that hardly any English text goes without."""
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
TOKEN = re.compile(r"\w+(?:'\w+)?")
RUN, RUNS = 4, 4
"""A run of so many words that stands so often in one answer is a loop."""


def check_reply(reply: ChatReply) -> None:
    """Raise Rejected for a reply that ended badly or is none."""
    if reply.finish == "length":
        raise Rejected("truncated", "cut off at the most tokens allowed")
    if reply.finish == "refusal" or REFUSAL.match(reply.text):
        raise Rejected("refusal", f"it begins {reply.text.strip()!r:.60}")
    if not reply.text.strip():
        raise Rejected("empty_answer", "nothing was said")


def check_wording(exchanges: Sequence[Exchange], config: QualityConfig, said: str) -> None:
    """Raise Rejected for the first thing that is wrong with the words. `said` is the reply: what
    a recipe itself asks may speak of a caption, and the teacher may not."""
    for each in exchanges:
        for text in (each.question, each.answer):
            if not re.search(r"\w", text):
                raise Rejected("empty_answer", "a question or an answer without words")
            for reason, sign in (
                ("placeholder", MARKS),
                ("mentions_source", SOURCE),
                ("coordinates", NUMBERS),
            ):
                if (found := sign.search(text)) and (sign is MARKS or found[0].strip() in said):
                    raise Rejected(reason, f"it says {found[0].strip()!r:.60}")
        if REFUSAL.match(each.answer):
            raise Rejected("refusal", f"an answer begins {each.answer!r:.60}")
        _check_length(each.answer, config)
    for texts in ([e.question for e in exchanges], [e.answer for e in exchanges]):
        counts = Counter(" ".join(TOKEN.findall(text.lower())) for text in texts)
        twice = [text for text, count in counts.items() if count > 1 and len(text.split()) > 3]
        if twice:
            raise Rejected("repeated", f"twice: {twice[0]!r:.60}")
    if config.language == "english":
        _check_english(" ".join(each.answer for each in exchanges))


def _check_length(answer: str, config: QualityConfig) -> None:
    words = answer.split()
    if len(words) > config.longest_answer:
        raise Rejected("too_long", f"{len(words)} words; at most {config.longest_answer}")
    runs = Counter(tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1))
    run, count = max(runs.items(), key=lambda item: item[1], default=((), 0))
    if count > RUNS and count * RUN > len(words) / 4:
        raise Rejected("repeated", f"{count} times: {' '.join(run)!r:.60}")


def _check_english(text: str) -> None:
    """Latin letters, and, where there is enough to tell, words that no English goes without."""
    letters = [mark for mark in text if mark.isalpha()]
    plain = sum(mark < "\u0250" for mark in letters)
    words = [word.lower() for word in WORD.findall(text)]
    known = sum(word in ENGLISH for word in words)
    if (letters and plain < 0.9 * len(letters)) or (len(words) >= 12 and known < len(words) / 8):
        raise Rejected("language", f"not English: {text!r:.60}")
