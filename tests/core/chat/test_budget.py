"""The cap on cost and tokens: it holds at the worst, and the books are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.chat import AskConfig, Journal, Progress, ask
from isthmus.core.chat.budget import worst_of
from isthmus.core.contracts import ChatRequest, Price, Turn
from isthmus.errors import InputError, OutOfBudget
from tests.core.chat.talks import endpoint, request, requests, settle
from tests.loopback import Answer, Asked, completion, loopback

PRICE = {"prompt": 2.0, "completion": 8.0}


def longest(asked: Asked) -> Answer:
    """A reply of as many tokens as were allowed, and a prompt of a token for every byte."""
    body = completion(asked, "word")
    prompt = sum(len(message["content"].encode()) for message in asked.body["messages"])
    asked.tokens = (prompt, asked.body["max_tokens"])
    body["usage"] = {"prompt_tokens": prompt, "completion_tokens": asked.tokens[1]}
    return Answer(body=json.dumps(body).encode(), seconds=0.01)


def spent(ledger: list[Asked]) -> tuple[int, float]:
    prompt = sum(asked.tokens[0] for asked in ledger)
    answer = sum(asked.tokens[1] for asked in ledger)
    return prompt + answer, (2.0 * prompt + 8.0 * answer) / 1e6


def test_the_worst_counts_every_byte_and_the_longest_reply() -> None:
    talk = ChatRequest("a", (Turn("user", ("\u00e9" * 10,)),), parameters=request(0).parameters)
    worst = worst_of(talk, Price(prompt=1, completion=3))
    assert worst.tokens >= 20 + 1024
    assert worst.cost == pytest.approx((worst.tokens - 1024 + 3 * 1024) / 1e6)


@pytest.mark.parametrize("cap", [{"max_tokens": 20_000}, {"max_cost": 0.05}], ids=str)
def test_the_cap_is_never_exceeded_and_what_was_answered_is_kept(
    tmp_path: Path, cap: dict[str, Any]
) -> None:
    asked = [request(number, max_tokens=300) for number in range(200)]
    path = tmp_path / "journal.sqlite"
    with loopback(longest) as server:
        model = endpoint(server, price=PRICE)
        with Journal(path) as journal, pytest.raises(OutOfBudget, match="are spent, and the next"):
            list(ask(model, asked, journal, AskConfig(concurrency=8, **cap)))
        tokens, cost = spent(server.ledger)
        used = tokens if "max_tokens" in cap else cost
        assert 0.9 < used / next(iter(cap.values())) <= 1
        with Journal(path) as journal:
            kept = journal.spend()
            assert (kept.tokens, kept.cost) == (tokens, pytest.approx(cost))
            assert journal.endings() == {"answered": len(server.ledger)}
        calls = len(server.ledger)
        with Journal(path) as journal, pytest.raises(OutOfBudget):
            list(ask(model, asked, journal, AskConfig(**cap)))
        assert len(server.ledger) == calls, "what earlier runs spent counts, too"
        assert len(settle(model, asked, path)) == 200


def test_a_cap_on_cost_needs_a_price(tmp_path: Path) -> None:
    with (
        loopback() as server,
        pytest.raises(InputError, match=r"max_cost: 5 US dollars .* has no `price`; write price:"),
    ):
        settle(endpoint(server), requests(1), tmp_path / "j.sqlite", max_cost=5)


def test_a_cap_needs_a_longest_reply(tmp_path: Path) -> None:
    asked = [request(0, max_tokens=None)]
    with loopback() as server, pytest.raises(InputError, match=r"r0: a cap .* needs `max_tokens`"):
        settle(endpoint(server), asked, tmp_path / "j.sqlite", max_tokens=5000)


def test_the_forecast_is_the_share_that_is_done(tmp_path: Path) -> None:
    told: list[Progress] = []
    with loopback(longest) as server, Journal(tmp_path / "j.sqlite") as journal:
        model = endpoint(server, price=PRICE)
        asked = [request(number, max_tokens=100) for number in range(40)]
        list(ask(model, asked, journal, AskConfig(concurrency=2), watch=told.append))
    assert told[-1].done == told[-1].total == 40
    assert told[-1].forecast == pytest.approx(told[-1].spend.cost)
    assert told[-1].eta == 0
    for progress in told:
        if progress.done:
            # every request costs the same here, give or take those under way
            assert progress.forecast == pytest.approx(told[-1].spend.cost, rel=3 / progress.done)
