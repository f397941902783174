"""Asking chat models, teachers and judges alike: one journal, one layer that tries again.

    with Journal("journal.sqlite") as journal:
        for settled in ask(model, requests, journal):
            print(settled.request.id, settled.reply or settled.reason)

Knows the contract, and no model or endpoint.
"""

from isthmus.core.chat.ask import ask
from isthmus.core.chat.budget import Spend
from isthmus.core.chat.call import Call, Refusal
from isthmus.core.chat.config import AskConfig
from isthmus.core.chat.journal import Journal
from isthmus.core.chat.keys import Keys
from isthmus.core.chat.progress import Progress, Watcher
from isthmus.core.chat.retry import failure_of, one_line, retry_after
from isthmus.core.chat.settled import Missing, Settled
from isthmus.core.chat.taking import take
from isthmus.core.chat.words import whole, whole_turns

__all__ = [
    "AskConfig",
    "Call",
    "Journal",
    "Keys",
    "Missing",
    "Progress",
    "Refusal",
    "Settled",
    "Spend",
    "Watcher",
    "ask",
    "failure_of",
    "one_line",
    "retry_after",
    "take",
    "whole",
    "whole_turns",
]
