"""Nearly a third of 2,000 requests' calls fail, in every way that calls fail, and nothing is lost.

What is promised is read off the server's own ledger, not off what the client says of itself.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from isthmus.core.chat import AskConfig, Journal, Settled, Spend, ask
from tests.core.chat.talks import endpoint, requests, right
from tests.loopback import Answer, Asked, Loopback, completion, error, good, loopback

pytestmark = pytest.mark.slow

COUNT, AT_ONCE, TIMEOUT = 2000, 32, 1.0
SLOW = ("hang", "429 date", "429", "429 seconds", "429 nonsense")
QUICK = (
    *("500", "503 seconds", "drop", "reset", "half body", "half JSON", "no JSON"),
    *("other schema", "no choices", "no content"),
)
FAULTS = (*SLOW, *QUICK * 4)
"""What takes the test's time, or places from the calls at once, comes more seldom."""
OVERLOADS = tuple(kind for kind in FAULTS if kind.startswith("429"))
ATTEMPTS = 8


def storm(asked: Asked) -> Answer:
    """Good for 70 % of calls. Which call fails, and how, follows from its prompt and number."""
    digest = hashlib.sha256(f"{asked.prompt} {asked.before}".encode()).digest()
    if digest[0] >= 0.3 * 256:
        return good(asked)
    asked.kind = FAULTS[int.from_bytes(digest[1:3], "big") % len(FAULTS)]
    return fault(asked)


def fault(asked: Asked) -> Answer:
    whole = json.dumps(completion(asked)).encode()
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


class Storm:
    """One run through it, and everything that is known of it."""

    def __init__(self, server: Loopback, settled: list[Settled], spend: Spend, said: Spend):
        self.server, self.settled = server, settled
        self.spend, self.said = spend, said


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    path = tmp_path_factory.mktemp("storm") / "journal.sqlite"
    config = AskConfig(
        concurrency=AT_ONCE,
        timeout=TIMEOUT,
        attempts=ATTEMPTS,
        backoff=0.05,
        longest_backoff=0.4,
        seed=1,
    )
    heard: list[Spend] = []
    with loopback(storm) as server, Journal(path) as journal:
        given = list(
            ask(
                endpoint(server),
                requests(COUNT),
                journal,
                config,
                watch=lambda progress: heard.append(progress.spend),
            )
        )
        yield Storm(server, given, journal.spend(), heard[-1])


def test_every_fault_happened(run: Storm) -> None:
    kinds = Counter(asked.kind for asked in run.server.ledger)
    assert set(kinds) == {"answer", *FAULTS}
    assert 0.27 < 1 - kinds["answer"] / len(run.server.ledger) < 0.33


def test_nothing_is_lost_and_nothing_is_there_twice(run: Storm) -> None:
    assert len(run.settled) == COUNT
    assert {settled.request.id for settled in run.settled} == {f"r{n}" for n in range(COUNT)}
    assert all(map(right, run.settled))
    assert set(run.server.answered().values()) == {1}


def test_spend_is_the_servers_to_the_token(run: Storm) -> None:
    prompt = sum(asked.tokens[0] for asked in run.server.ledger)
    answer = sum(asked.tokens[1] for asked in run.server.ledger)
    assert (run.spend.prompt_tokens, run.spend.completion_tokens) == (prompt, answer)
    assert run.spend.calls == len(run.server.ledger)
    assert run.said == run.spend


def test_calls_that_may_have_cost_something_are_counted_apart(run: Storm) -> None:
    """Those that broke off, and those whose count was cut off with the rest."""
    silent = {"hang", "drop", "reset", "half body", "half JSON", "no JSON"}
    broke = sum(asked.kind in silent for asked in run.server.ledger)
    assert run.spend.unmetered == broke


def test_no_more_calls_at_once_than_allowed(run: Storm) -> None:
    assert 4 < run.server.most_under_way <= AT_ONCE


def test_no_request_is_tried_more_often_than_allowed(run: Storm) -> None:
    tries = Counter(a.prompt for a in run.server.ledger if a.kind not in OVERLOADS)
    assert max(tries.values()) <= ATTEMPTS


def test_every_call_after_the_first_follows_a_fault(run: Storm) -> None:
    for number in range(COUNT):
        *before, last = run.server.calls(f"say {number}")
        assert last.kind == "answer"
        assert all(asked.kind != "answer" for asked in before)


def test_no_call_comes_before_the_server_allows_it(run: Storm) -> None:
    wanted = {"429 seconds": 0.4, "503 seconds": 0.3, "429 date": 1.0}
    met = Counter[str]()
    for number in range(COUNT):
        calls = run.server.calls(f"say {number}")
        for call, after in pairwise(calls):
            if call.kind in wanted:
                met[call.kind] += 1
                assert after.at - call.ended >= wanted[call.kind]
    assert met.keys() == wanted.keys()


def test_waits_grow_and_are_not_all_alike(run: Storm) -> None:
    waits: dict[int, list[float]] = {1: [], 2: []}
    for number in range(COUNT):
        calls = run.server.calls(f"say {number}")
        for tries in waits:
            if len(calls) > tries and {c.kind for c in calls[:tries]} <= {
                "500",
                "429",
                "half JSON",
            }:
                waits[tries].append(calls[tries].at - calls[tries - 1].ended)
    assert min(waits[1]) >= 0.025
    assert min(waits[2]) >= 0.05
    assert len({round(wait, 3) for wait in waits[1]}) > 10
