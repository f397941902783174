"""A judge whose calls fail: what is missing is said to be missing, and nothing is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.chat import Journal, Spend
from tests.core.chat.talks import endpoint, requests, right, settle
from tests.loopback import Answer, Asked, error, good, loopback

COUNT = 200


@pytest.mark.parametrize("percent", [0, 1, 50, 100])
@pytest.mark.parametrize("status", [500, 503, 400])
def test_failed_calls_are_missing_replies_and_nothing_else(
    tmp_path: Path, percent: int, status: int
) -> None:
    def judge(asked: Asked) -> Answer:
        if int(asked.prompt.split()[1]) * 100 < percent * COUNT:
            return error(status, "the judge is ill")
        return good(asked)

    path = tmp_path / "journal.sqlite"
    with loopback(judge) as server:
        given = settle(endpoint(server), requests(COUNT), path, attempts=2, backoff=0.001)
        failed = percent * COUNT // 100
        assert len(given) == COUNT
        missing = [o for o in given.values() if o.reply is None]
        assert len(missing) == failed
        assert {o.missing for o in missing} <= {"refused" if status == 400 else "gave_up"}
        assert {o.reason for o in missing} <= {f"HTTP {status}: the judge is ill"}
        assert all(right(o) for o in given.values() if o.reply is not None)
        assert len(server.ledger) == COUNT + (failed if status != 400 else 0)
    with Journal(path, read_only=True) as journal:
        assert journal.endings().get("answered", 0) == COUNT - failed
        assert isinstance(journal.spend(), Spend)


def test_scoring_again_from_the_journal_calls_nobody(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with loopback() as server:
        model = endpoint(server)
        first = settle(model, requests(30), path)
    again = settle(model, requests(30), path)  # the server is gone
    assert {id: o.reply for id, o in again.items()} == {id: o.reply for id, o in first.items()}


def test_the_judges_name_is_kept_as_it_was_asked_and_as_it_came_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"

    def other(asked: Asked) -> Answer:
        answer = good(asked)
        if asked.prompt == "say 7":
            answer.body = answer.body.replace(b"loopback-1", b"loopback-2")
        return answer

    with loopback(other) as server:
        given = settle(endpoint(server), requests(10), path)
    assert given["r7"].reply is not None
    assert given["r7"].reply.model == "loopback-2"
    with Journal(path, read_only=True) as journal:
        assert journal.models() == {("m", "loopback-1"): 9, ("m", "loopback-2"): 1}
