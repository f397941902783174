"""Asking: every request has one settled, and what the journal knows is never asked again."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from isthmus.core.chat import AskConfig, Journal, Progress, Settled, ask
from isthmus.core.contracts import ChatRequest, ImageSlot, Turn
from isthmus.errors import (
    ChatBroken,
    ChatFailure,
    ChatOverloaded,
    ChatRefused,
    ChatUnreachable,
    ChatUnusable,
    InputError,
    Interrupted,
    WorkError,
)
from tests.core.chat.talks import QUICK, Toy, Toys, request, requests, right, settle
from tests.loopback import words_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def failing(failures: dict[str, list[ChatFailure]]) -> Callable[[str], str]:
    """Raises the failures listed for a prompt, one at each call, before it answers."""

    def answer(prompt: str) -> str:
        if failures.get(prompt):
            raise failures[prompt].pop(0)
        return words_for(prompt)

    return answer


def toy(answer: Callable[[str], str] = words_for) -> Toy:
    return Toy(Toy.Config(), answer)


def test_every_request_is_answered_once(path: Path) -> None:
    model = toy()
    given = settle(model, requests(300), path, concurrency=7)
    assert len(given) == 300
    assert all(map(right, given.values()))
    assert Counter(model.asked) == Counter(f"say {n}" for n in range(300))
    assert model.opened == 0


def test_what_the_journal_knows_is_not_asked_again(path: Path) -> None:
    settle(toy(), requests(20), path)
    model = toy()
    given = settle(model, requests(30), path)
    assert sorted(model.asked) == sorted(f"say {n}" for n in range(20, 30))
    assert [o.recalled for o in given.values()].count(True) == 20
    assert all(map(right, given.values()))


def test_a_model_is_not_even_opened_where_the_journal_knows_all(path: Path) -> None:
    settle(toy(), requests(5), path)

    class Closed(Toy, name="toy"):
        async def open(self) -> None:
            raise InputError("no key")

    assert all(o.recalled for o in settle(Closed(Closed.Config()), requests(5), path).values())
    for count in (6, 1000):
        with pytest.raises(InputError, match="no key"):
            settle(Closed(Closed.Config()), requests(count), path)


def test_a_journal_to_be_read_alone_asks_nothing_and_keeps_the_order(path: Path) -> None:
    settle(toy(), requests(10), path)
    before = path.read_bytes()
    model = toy()
    with Journal(path, read_only=True) as journal:
        given = list(ask(model, requests(12), journal))
    assert [o.request.id for o in given] == [f"r{n}" for n in range(12)]
    assert [o.missing for o in given] == [""] * 10 + ["unasked"] * 2
    assert "may only be read" in given[-1].reason
    assert model.asked == []
    assert path.read_bytes() == before


def test_requests_that_are_alike_share_one_call(path: Path) -> None:
    model = toy()
    alike = [replace(request(1), id=f"a{n}") for n in range(6)]
    drawn = [replace(request(1), id=f"b{n}", draw=n) for n in range(1, 4)]
    given = settle(model, [*alike, *drawn], path)
    assert len(given) == 9
    assert model.asked == ["say 1"] * 4


def test_requests_are_taken_as_they_are_needed(path: Path) -> None:
    """Any number of requests may come: few are open at once."""
    taken = given = most = 0

    def endless() -> Iterator[ChatRequest]:
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield request(number)

    with Journal(path) as journal:
        for _ in ask(toy(), endless(), journal, AskConfig(concurrency=4)):
            given += 1
            most = max(most, taken - given)
    assert given == 2000
    assert most <= 4 * 4


def test_leaving_early_keeps_what_was_under_way(path: Path) -> None:
    model = toy()
    with Journal(path) as journal:
        for _ in ask(model, requests(1000), journal, AskConfig(concurrency=4)):
            break
        assert journal.endings() == {"answered": len(model.asked)}
    assert len(model.asked) < 100
    assert model.opened == 0


def test_failures_that_pass_are_tried_again(path: Path) -> None:
    failures: dict[str, list[ChatFailure]] = {
        "say 0": [ChatUnreachable("gone"), ChatBroken("half")],
        "say 1": [ChatOverloaded("full") for _ in range(9)],
    }
    model = toy(failing(failures))
    given = settle(model, requests(3), path, attempts=3)
    assert all(map(right, given.values()))
    assert Counter(model.asked) == {"say 0": 3, "say 1": 10, "say 2": 1}


def test_a_request_that_is_always_too_much_is_given_up_in_the_end(path: Path) -> None:
    def full(prompt: str) -> str:
        if prompt == "say 0":
            raise ChatOverloaded("larger than all that I take in a minute")
        return words_for(prompt)

    model = toy(full)
    given = settle(model, requests(3), path, attempts=1, backoff=0.001, longest_backoff=0.001)
    assert given.pop("r0").missing == "gave_up"
    assert all(map(right, given.values()))
    assert Counter(model.asked)["say 0"] == 20


def test_a_request_is_given_up_after_its_tries_and_asked_again_in_the_next_run(path: Path) -> None:
    failures: dict[str, list[ChatFailure]] = {"say 0": [ChatUnreachable("gone")] * 3}
    given = settle(toy(failing(failures)), requests(2), path, attempts=3)
    assert (given["r0"].missing, given["r0"].reason) == ("gave_up", "gone")
    assert right(given["r1"])
    assert all(map(right, settle(toy(), requests(2), path).values()))


def test_a_refused_request_is_set_aside_with_its_words(path: Path) -> None:
    failures: dict[str, list[ChatFailure]] = {"say 1": [ChatRefused("HTTP 400: too long")]}
    model = toy(failing(failures))
    given = settle(model, requests(3), path)
    assert (given["r1"].missing, given["r1"].reason) == ("refused", "HTTP 400: too long")
    assert Counter(model.asked)["say 1"] == 1
    with Journal(path) as journal:
        (refusal,) = journal.refusals()
        assert refusal.request == "r1"
        assert '["user",["say 1"]]' in refusal.words
    again = toy()
    given = settle(again, requests(3), path)
    assert (given["r1"].missing, given["r1"].recalled, again.asked) == ("refused", True, [])
    given = settle(again, requests(3), path, ask_refused=True)
    assert right(given["r1"])


def test_a_model_that_answers_nobody_stops_everything_at_once(path: Path) -> None:
    def refuse(prompt: str) -> str:
        raise ChatUnusable("HTTP 401: who are you?")

    model = toy(refuse)
    with pytest.raises(ChatUnusable, match="who are you"):
        settle(model, requests(500), path, concurrency=4)
    assert len(model.asked) <= 4


def test_patience_ends_where_nothing_is_answered(path: Path) -> None:
    def full(prompt: str) -> str:
        raise ChatOverloaded("full")

    with pytest.raises(WorkError, match=r"not one reply in 0\.3 s; the last failure: full\. Every"):
        settle(toy(full), requests(5), path, patience=0.3)


def test_a_server_that_asks_for_longer_than_anybody_waits_ends_it_at_once(path: Path) -> None:
    def tomorrow(prompt: str) -> str:
        raise ChatOverloaded("quota", retry_after=80_000)

    with pytest.raises(WorkError, match=r"left alone for 80,000 s: quota\. Every"):
        settle(toy(tomorrow), requests(5), path)


def test_a_broken_plugin_is_named_and_what_was_answered_is_kept(path: Path) -> None:
    def bug(prompt: str) -> str:
        if prompt == "say 30":
            raise ZeroDivisionError("division by zero")
        return words_for(prompt)

    with pytest.raises(WorkError, match="chat model 'toy' failed with ZeroDivisionError: div"):
        settle(toy(bug), requests(100), path, concurrency=2)
    with Journal(path) as journal:
        assert journal.endings()["answered"] >= 28


def test_a_reply_that_cannot_be_read_is_kept_and_read_again_when_that_is_mended(path: Path) -> None:
    class Strict(Toy, name="toy"):
        def read(self, raw: str):  # type: ignore[no-untyped-def]
            raise KeyError("text")

    given = settle(Strict(Strict.Config()), requests(2), path, attempts=2)
    assert {o.missing for o in given.values()} == {"gave_up"}
    assert given["r0"].reason == "KeyError while the reply was read"
    mended = toy()
    assert all(map(right, settle(mended, requests(2), path).values()))
    assert mended.asked == []


def test_a_model_without_eyes_is_shown_no_image(path: Path) -> None:
    seen = ChatRequest("a", (Turn("user", (ImageSlot(0),)),), (Image.new("RGB", (2, 2)),))
    with pytest.raises(InputError, match="request a: has 1 images, and chat model 'toy' takes wor"):
        settle(toy(), [seen], path)


def test_an_image_that_cannot_be_read_concerns_its_request_alone(
    path: Path, tmp_path: Path
) -> None:
    lost = ChatRequest("a", (Turn("user", (ImageSlot(0),)),), (tmp_path / "lost.png",))
    given = settle(toy(), [lost, request(1)], path)
    assert given["a"].missing == "refused"
    assert "there is no such file" in given["a"].reason
    assert right(given["r1"])


def test_a_batch_model_is_asked_by_the_batch_and_failures_alone_again(path: Path) -> None:
    failed: list[str] = []

    def answer(prompt: str) -> str | ChatFailure:
        if prompt in ("say 1", "say 5") and prompt not in failed:
            failed.append(prompt)
            return ChatUnreachable("expired")
        if prompt == "say 2":
            return ChatRefused("HTTP 400: no")
        return words_for(prompt)

    model = Toys(Toys.Config(), answer)
    given = settle(model, requests(10), path, concurrency=1)
    assert [len(call) for call in model.calls if len(call) > 1] == [3, 3, 3]
    assert Counter(p for call in model.calls for p in call)["say 1"] == 2
    assert given.pop("r2").missing == "refused"
    assert all(map(right, given.values()))


def test_a_batch_of_the_wrong_size_is_the_plugins_mistake(path: Path) -> None:
    class Short(Toys, name="toys"):
        async def replies(self, requests):  # type: ignore[no-untyped-def]
            return ["one"]

    with pytest.raises(WorkError, match="'toys' gave 1 replies for 3 requests"):
        settle(Short(Short.Config(), words_for), requests(3), path)


def test_a_watcher_hears_of_it_on_the_thread_that_asks(path: Path) -> None:
    told: list[Progress] = []
    settle(toy(), requests(5), path)

    def watch(progress: Progress) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(progress)

    with Journal(path) as journal:
        list(ask(toy(), requests(50), journal, AskConfig(**QUICK), watch=watch))
    last = told[-1]
    assert (last.total, last.done, last.recalled, last.failed) == (50, 50, 5, 0)
    assert (last.under_way, last.spend.calls, last.spend.tokens) == (0, 45, 45 * 15)
    assert last.rate > 0


def test_ctrl_c_ends_it_after_what_is_under_way(path: Path) -> None:
    given: list[Settled] = []

    def take(settled: Settled) -> None:
        given.append(settled)
        if len(given) == 20:
            os.kill(os.getpid(), signal.SIGINT)

    with Journal(path) as journal:
        asking = ask(toy(), requests(500), journal, AskConfig(concurrency=4))
        with pytest.raises(Interrupted, match=r"stopped by a signal after \d+ of 500 requests"):
            deque(map(take, asking), maxlen=0)
        assert journal.endings() == {"answered": len(given)}
    assert 20 <= len(given) < 100
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_asking_from_another_thread_leaves_signals_alone(path: Path) -> None:
    given: list[dict[str, Settled]] = []
    thread = threading.Thread(target=lambda: given.append(settle(toy(), requests(9), path)))
    thread.start()
    thread.join(20)
    assert len(given[0]) == 9


def test_a_full_disk_ends_it_with_a_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, rows: object) -> None:
        raise WorkError(f"{path}: cannot be written: database or disk is full")

    monkeypatch.setattr(Journal, "write", full)
    with pytest.raises(WorkError, match="disk is full"):
        settle(toy(), requests(50), path)
