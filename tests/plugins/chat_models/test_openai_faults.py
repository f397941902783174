"""`openai` at servers that fail: what is tried again, what is given up, and what stops the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from isthmus.errors import ChatUnusable
from tests.core.chat.talks import endpoint, requests, right, settle
from tests.loopback import Answer, Asked, error, good, loopback


def test_a_stream_that_breaks_off_is_tried_again(path: Path) -> None:
    def broken(asked: Asked) -> Answer:
        answer = good(asked)
        if asked.before == 0:
            answer.cut = 0.6
        elif asked.before == 1:
            events = answer.body.split(b"\n\n")
            answer.body = b"\n\n".join([*events[:2], b"data: [DONE]", b""])
        elif asked.before == 2:
            oops = json.dumps({"error": {"message": "out of memory"}}).encode()
            answer.body = answer.body.split(b"\n\n")[0] + b"\n\ndata: " + oops + b"\n\n"
        elif asked.before == 3:
            answer.body = answer.body.split(b"\n\n")[0] + b"\n\ndata: {half\n\n"
        return answer

    with loopback(broken) as server:
        given = settle(endpoint(server, stream=True), requests(10), path)
        assert len(server.ledger) == 50
    assert all(map(right, given.values()))


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "nonsense", "Content-Type": "application/json; charset=nonsense"},
        {"Content-Type": "\xff\x01"},
        {"Content-Length": "7"},
        {"Content-Length": "1000000"},
        {"Transfer-Encoding": "chunked"},
    ],
    ids=str,
)
def test_a_server_that_speaks_no_http_harms_its_own_request_alone(
    path: Path, headers: dict[str, str]
) -> None:
    def odd(asked: Asked) -> Answer:
        answer = good(asked)
        answer.headers = headers if asked.prompt == "say 1" else {}
        return answer

    with loopback(odd) as server:
        model = endpoint(server)
        given = settle(model, requests(4), path, attempts=2, backoff=0.001, timeout=1.0)
    assert given.pop("r1").missing in ("", "gave_up")
    assert all(map(right, given.values()))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_stops_after_the_calls_under_way(path: Path, status: int) -> None:
    with loopback(lambda asked: error(status, "no")) as server:
        with pytest.raises(ChatUnusable, match=f"HTTP {status}: no"):
            settle(endpoint(server), requests(300), path, concurrency=8)
        assert len(server.ledger) <= 8


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(429, "pay", code="insufficient_quota"), "HTTP 429: pay"),
        (
            Answer(307, b"", {"Location": "http://127.0.0.1:9/v2"}),
            r"base_url leads to http://127\.0\.0\.1:9/v2; write that instead",
        ),
    ],
    ids=["no money", "moved"],
)
def test_what_no_retry_can_mend_stops(path: Path, answer: Answer, message: str) -> None:
    with loopback(lambda asked: answer) as server, pytest.raises(ChatUnusable, match=message):
        settle(endpoint(server), requests(1), path)


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_request_is_tried_once_and_kept_with_its_words(path: Path, status: int) -> None:
    def judge(asked: Asked) -> Answer:
        return error(status, "too long") if asked.prompt == "say 3" else good(asked)

    with loopback(judge) as server:
        given = settle(endpoint(server), requests(6), path)
        assert len(server.ledger) == 6
    assert given["r3"].missing == "refused"
    with Journal(path, read_only=True) as journal:
        (refusal,) = journal.refusals()
        assert json.loads(refusal.words)["turns"][-1] == ["user", ["say 3"]]


def test_a_server_that_is_not_there_is_unreachable(path: Path) -> None:
    with loopback() as server:
        model = endpoint(server)
    given = settle(model, requests(2), path, attempts=2, backoff=0.001)
    assert {o.missing for o in given.values()} == {"gave_up"}
    assert {o.reason.split(" (")[0] for o in given.values()} == {"no connection"}
    with Journal(path, read_only=True) as journal:
        assert (journal.spend().calls, journal.spend().unmetered) == (4, 0)


def test_a_call_that_takes_too_long_is_tried_again(path: Path) -> None:
    def slow(asked: Asked) -> Answer:
        answer = good(asked)
        answer.seconds = 0.0 if asked.before else 30.0
        return answer

    with loopback(slow) as server:
        given = settle(endpoint(server), requests(3), path, timeout=1.0)
        assert len(server.ledger) == 6
    assert all(map(right, given.values()))
