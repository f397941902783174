"""Nearly a third of 2,000 requests' calls fail, in every way that calls fail, and nothing is lost.

What is promised is read off the server's own ledger, not off what the client says of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from isthmus.core.chat import AskConfig, Journal, Settled, Spend, ask
from tests.core.chat.talks import endpoint, requests, right
from tests.loopback import Loopback, loopback
from tests.storm import FAULTS, LEAST, OVERLOADS, SILENT, storm

pytestmark = pytest.mark.slow

COUNT, AT_ONCE, TIMEOUT = 2000, 32, 1.0
ATTEMPTS = 8


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
    with loopback(storm()) as server, Journal(path) as journal:
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
    broke = sum(asked.kind in SILENT for asked in run.server.ledger)
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
    met = Counter[str]()
    for number in range(COUNT):
        calls = run.server.calls(f"say {number}")
        for call, after in pairwise(calls):
            if call.kind in LEAST:
                met[call.kind] += 1
                assert after.at - call.ended >= LEAST[call.kind]
    assert met.keys() == LEAST.keys()


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
