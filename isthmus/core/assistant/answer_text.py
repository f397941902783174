"""Ids of an answer into text, piece by piece, so that the pieces make exactly the whole.

A token may be half a character, and half a stop. What could still change is held back.
"""

from __future__ import annotations

from typing import Any

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are no character, or not one yet."""


class AnswerText:
    """Grows by ids; `text` is the answer so far, without its stop and outer whitespace.

    `stop` is a stop in characters, or empty where a control token ends the answer.
    """

    def __init__(self, tokenizer: Any, stop: str = "") -> None:
        self.tokenizer = tokenizer
        self.stop = stop
        self.ids: list[int] = []
        self.text = ""
        self.stopped = False
        self._given = ""

    def add(self, ids: list[int]) -> str:
        """Take more ids; returns what is certain now and was not before."""
        self.ids += ids
        whole = self._decode()
        at = whole.find(self.stop) if self.stop else -1
        self.stopped = at >= 0
        self.text = (whole[:at] if self.stopped else whole).strip()
        return self._give(self._certain(whole) if not self.stopped else self.text)

    def finish(self) -> str:
        """The rest: no more ids will come."""
        return self._give(self.text)

    def _decode(self) -> str:
        """Without the tokenizer's own clean-up of spaces, which would rewrite the text."""
        text: str = self.tokenizer.decode(
            self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _certain(self, whole: str) -> str:
        """The answer less what more ids may change: a broken character, the beginning of the
        stop, whitespace that is only answer when something follows it."""
        sure = whole.rstrip(REPLACEMENT)
        for size in range(min(len(self.stop) - 1, len(sure)), 0, -1):
            if sure.endswith(self.stop[:size]):
                sure = sure[:-size]
                break
        return sure.strip()

    def _give(self, certain: str) -> str:
        if not certain.startswith(self._given):
            # Bytes that turned out to be no character after all: what was said stays said.
            return ""
        new = certain[len(self._given) :]
        self._given = certain
        return new
