"""When a request is tried again, and what a status means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from isthmus.core.chat import AskConfig, failure_of, retry_after
from isthmus.core.chat.retry import wait_before
from isthmus.core.config import load
from isthmus.errors import (
    ChatOverloaded,
    ChatRefused,
    ChatUnreachable,
    ChatUnusable,
    ConfigError,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PLAIN = ChatUnreachable("gone")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sunday, 01-Mar-26 12:00:05 GMT", 5.0),
        ("Sun Mar  1 12:00:05 2026", 5.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", 0.0),
        ("a while", None),
        ("nan", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOON) == seconds


@pytest.mark.parametrize("tries", [1, 2, 3, 6, 7, 40, 5000])
def test_waits_double_up_to_the_longest_and_lose_at_most_half(tries: int) -> None:
    config = AskConfig(backoff=0.5, longest_backoff=30)
    whole = min(0.5 * 2 ** min(tries - 1, 50), 30)
    for key in "abcdefgh":
        assert whole / 2 <= wait_before(tries, PLAIN, config, key) <= whole


def test_the_random_part_follows_from_seed_key_and_try_alone() -> None:
    config, other = AskConfig(seed=1), AskConfig(seed=2)
    waits = [wait_before(1, PLAIN, config, f"{n}") for n in range(1000)]
    assert waits == [wait_before(1, PLAIN, config, f"{n}") for n in range(1000)]
    assert waits != [wait_before(1, PLAIN, other, f"{n}") for n in range(1000)]
    assert sum(waits) / 1000 == pytest.approx(0.75, abs=0.02)
    assert len(set(waits)) == 1000


@pytest.mark.parametrize("seconds", [0.0, 0.001, 5.0, 4000.0])
def test_a_server_is_left_alone_for_as_long_as_it_asks(seconds: float) -> None:
    config = AskConfig(backoff=1, longest_backoff=60)
    for key in "abcdefgh":
        wait = wait_before(9, ChatOverloaded("full", retry_after=seconds), config, key)
        assert seconds < wait <= seconds + 0.5


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        *((400, ChatRefused), (413, ChatRefused), (422, ChatRefused)),
        *((401, ChatUnusable), (403, ChatUnusable), (404, ChatUnusable)),
        *((408, ChatUnreachable), (409, ChatUnreachable), (500, ChatUnreachable)),
        *((502, ChatUnreachable), (503, ChatUnreachable), (529, ChatUnreachable)),
        (429, ChatOverloaded),
    ],
)
def test_a_status_says_what_to_do(status: int, failure: type) -> None:
    found = failure_of(status, "so it is", {"Retry-After": "3"})
    assert type(found) is failure
    assert str(found) == f"HTTP {status}: so it is"
    waits = failure in (ChatOverloaded, ChatUnreachable)
    assert found.retry_after == (3.0 if waits else None)


def test_a_date_is_meant_by_the_servers_clock() -> None:
    headers = {
        "date": "Sun, 01 Mar 2020 12:00:00 GMT",
        "retry-after": "Sun, 01 Mar 2020 12:00:07 GMT",
    }
    assert failure_of(503, "", headers).retry_after == 7.0


def test_a_message_is_one_line_of_bounded_length() -> None:
    message = str(failure_of(500, "a\n\x1b[31mb\x00\ud800" + "x" * 10_000))
    assert message.startswith("HTTP 500: a [31mb x")
    assert message.isprintable()
    assert len(message) < 400


def test_a_longest_wait_below_the_first_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="longest_backoff: must not be less than `backoff`, 5"):
        load(AskConfig, {"backoff": 5, "longest_backoff": 1})
