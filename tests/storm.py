"""A server that fails in nearly a third of its calls, in every way that calls fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.loopback import Answer, Asked, Behave, completion, error, words_for

SLOW = ("hang", "429 date", "429", "429 seconds", "429 nonsense")
QUICK = (
    *("500", "503 seconds", "drop", "reset", "half body", "half JSON", "no JSON"),
    *("other schema", "no choices", "no content"),
)
FAULTS = (*SLOW, *QUICK * 4)
"""What takes the test's time, or places from the calls at once, comes more seldom."""
OVERLOADS = tuple(kind for kind in FAULTS if kind.startswith("429"))
SILENT = {"hang", "drop", "reset", "half body", "half JSON", "no JSON"}
"""Those that may have cost something and do not say what."""
LEAST = {"429 seconds": 0.4, "503 seconds": 0.3, "429 date": 1.0}
"""Seconds for which the server wants to be left alone, at least."""


def storm(say: Callable[[str], str] = words_for) -> Behave:
    """A server that says `say` of the prompt in 70 % of calls. Which call fails, and how, follows
    from its prompt and number."""

    def behave(asked: Asked) -> Answer:
        whole = json.dumps(completion(asked, say(asked.prompt))).encode()
        digest = hashlib.sha256(f"{asked.prompt} {asked.before}".encode()).digest()
        if digest[0] >= 0.3 * 256:
            return Answer(body=whole)
        asked.kind = FAULTS[int.from_bytes(digest[1:3], "big") % len(FAULTS)]
        return fault(asked, whole)

    return behave


def fault(asked: Asked, whole: bytes) -> Answer:
    """The failure of this kind, of a call whose answer would have been the whole."""
    counted, asked.tokens = asked.tokens, (0, 0)
    in_two_seconds = datetime.now(UTC) + timedelta(seconds=2)
    match asked.kind:
        case "429":
            return error(429, "slow down")
        case "429 seconds":
            return error(429, "slow down", Retry_After="0.4")
        case "429 date":
            return error(429, "slow down", Retry_After=format_datetime(in_two_seconds, usegmt=True))
        case "429 nonsense":
            return error(429, "slow down", Retry_After="a while")
        case "500":
            return error(500, "it broke")
        case "503 seconds":
            return error(503, "over there", Retry_After="0.3")
        case "hang":
            return Answer(body=whole, seconds=60)
        case "drop":
            return Answer(body=whole, cut=0.5)
        case "reset":
            return Answer(body=whole, cut=0.0)
        case "half body":
            return Answer(body=whole[: len(whole) // 2], headers={"Content-Type": "text/plain"})
        case "half JSON":
            return Answer(body=whole[:-20])
        case "no JSON":
            return Answer(body=b"<html>a proxy</html>", headers={"Content-Type": "text/html"})
    asked.tokens = counted  # these three say what they cost
    body = json.loads(whole)
    if asked.kind == "other schema":
        body["choices"] = {"text": "hello"}
    elif asked.kind == "no choices":
        body["choices"] = []
    else:
        body["choices"][0]["message"]["content"] = None
    return Answer(body=json.dumps(body).encode())
