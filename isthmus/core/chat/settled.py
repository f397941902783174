"""What became of a request: its reply, or why it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.core.contracts import ChatReply, ChatRequest

Missing = Literal["", "refused", "gave_up", "unasked"]
"""Why there is no reply: the server refused the request, every try failed, or the journal has none
and may only be read. Empty where there is one."""


@dataclass(frozen=True, slots=True)
class Settled:
    """One request and its reply, or `missing` and the `reason` in words.

    `key` is what the journal has it under; `recalled`, it was there before this run.
    """

    request: ChatRequest
    key: str
    reply: ChatReply | None = None
    missing: Missing = ""
    reason: str = ""
    recalled: bool = False
