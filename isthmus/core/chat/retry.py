"""When a request is tried again. This is the one place that knows: plugins try once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from isthmus.core.chat.config import AskConfig
from isthmus.errors import (
    ChatFailure,
    ChatOverloaded,
    ChatRefused,
    ChatUnreachable,
    ChatUnusable,
)

SHOWN = 300
"""Characters of what a server said that a message repeats."""
UNUSABLE = (401, 403, 404)
WAIT_AND_TRY = (408, 409, 425)
"""Codes below 500 that say nothing against the request itself."""


def wait_before(tries: int, failure: ChatFailure, config: AskConfig, key: str) -> float:
    """Seconds to wait after `tries` (from 1) have failed.

    Never less than the server asked for. Otherwise it doubles from `backoff` on, of which a random
    share between a half and all is taken, so that those who failed together do not come back
    together. The share follows from the seed, the key and the try.
    """
    grown = min(config.backoff * 2.0 ** min(tries - 1, 30), config.longest_backoff)
    waited = grown * (0.5 + 0.5 * _share(f"{config.seed}:{key}:{tries}"))
    if failure.retry_after is None:
        return waited
    # A little later than asked, and each a little differently: all were told the same instant.
    return failure.retry_after + min(waited, config.backoff) * 0.5


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as an HTTP date (RFC 9110,
    10.2.3); None where it is absent or says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        then = _date(value)
        if then is None:
            return None
        seconds = (then - (now or datetime.now(UTC))).total_seconds()
    # NaN and infinity are numbers to float(), and no time to wait.
    return min(max(seconds, 0.0), 1e9) if seconds == seconds else None


def failure_of(status: int, said: str, headers: Mapping[str, str] | None = None) -> ChatFailure:
    """What an HTTP status that is no success means, for plugins that speak HTTP.

    `said` is what the server said about it, free of secrets. Of the `headers`, Retry-After is
    looked at, and Date, by whose clock a date in it is meant.
    """
    message = f"HTTP {status}: {one_line(said)}"
    named = {name.lower(): value for name, value in (headers or {}).items()}
    wait = retry_after(named.get("retry-after"), _date(named.get("date", "")))
    if status == 429:
        return ChatOverloaded(message, retry_after=wait)
    if status in UNUSABLE:
        return ChatUnusable(message)
    if status >= 500 or status in WAIT_AND_TRY:
        return ChatUnreachable(message, retry_after=wait)
    return ChatRefused(message)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def one_line(text: str) -> str:
    """The beginning of it without line breaks and control characters, for a message."""
    plain = "".join(mark if mark.isprintable() else " " for mark in text[: 4 * SHOWN])
    plain = " ".join(plain.split())
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}..."


def _share(words: str) -> float:
    """A number in [0, 1) that follows from these words."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "big") / 2**56
