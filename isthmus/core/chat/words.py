"""Text that can be written down: what people and models send may hold half characters."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.core.contracts import ImageSlot, Turn


def whole(text: str) -> str:
    """Without lone halves of surrogate pairs, which neither UTF-8 nor a tokenizer takes: each
    becomes U+FFFD. Whole pairs are joined to the character that they mean."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def whole_turns(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns in such text."""
    return tuple(
        Turn(
            turn.role,
            tuple(
                piece if isinstance(piece, ImageSlot) else whole(piece) for piece in turn.content
            ),
        )
        for turn in turns
    )
