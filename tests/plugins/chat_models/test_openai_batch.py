"""`openai_batch`: replies are joined by custom id, and a batch is never submitted twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.chat import Journal
from isthmus.core.config import create
from isthmus.core.contracts import ChatModel, ChatRequest, ImageSlot, Turn
from isthmus.errors import ChatUnusable, ConfigError, InputError, Interrupted
from isthmus.plugins.chat_models.openai import batch as batches
from isthmus.testing import check_chat_model
from tests.core.chat.talks import requests, right, settle
from tests.loopback import Answer, Asked, Loopback, loopback
from tests.plugins.chat_models.batch_server import BatchServer


@pytest.fixture
def api() -> BatchServer:
    return BatchServer()


@pytest.fixture
def server(api: BatchServer) -> Iterator[Loopback]:
    with loopback(api) as running:
        yield running


def batch(server: Loopback, path: Path, **fields: Any) -> ChatModel:
    settings = {"model": "m", "base_url": server.url, "poll": 0.02, "requests": 40, **fields}
    model: ChatModel = create(
        "chat_model", "openai_batch", folder=path.with_name("batches"), **settings
    )
    return model


def test_every_request_finds_its_reply(server: Loopback, api: BatchServer, path: Path) -> None:
    given = settle(batch(server, path), requests(100), path)
    assert len(given) == 100
    assert all(map(right, given.values()))
    assert sorted(map(len, api.inputs())) == [20, 40, 40]
    lines = [line for lines in api.inputs() for line in lines]
    assert len({line["custom_id"] for line in lines}) == 100
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    assert all(len(line["custom_id"]) <= 64 for line in lines)
    with Journal(path, read_only=True) as journal:
        spend = journal.spend()
    assert spend.prompt_tokens == sum(prompt for prompt, _ in api.tokens)
    assert spend.completion_tokens == sum(answer for _, answer in api.tokens)


def test_what_failed_in_a_batch_alone_goes_into_the_next(
    server: Loopback, api: BatchServer, path: Path
) -> None:
    def fate(prompt: str, before: int) -> Any:
        number = int(prompt.split()[1])
        kinds = {0: "expired", 1: 500, 2: "gone", 3: 429}
        if number % 10 == 4:
            return 400
        return kinds.get(number % 10, 200) if before == 0 else 200

    api.fate = fate
    given = settle(batch(server, path), requests(40), path)
    refused = {id for id, settled in given.items() if settled.missing == "refused"}
    assert refused == {"r4", "r14", "r24", "r34"}
    assert all(right(settled) for id, settled in given.items() if id not in refused)
    assert sorted(map(len, api.inputs())) == [16, 40]
    assert max(Counter(api.asked).values()) == 2


def test_a_run_that_was_stopped_finds_its_batches_again(
    server: Loopback, api: BatchServer, path: Path
) -> None:
    """Stopped as by Ctrl-C, while batches are under way: nobody waits a day for them."""
    api.polls = 10**9

    def stop() -> None:
        while sum(under_way["polls"] < 10**9 for under_way in api.batches.values()) < 2:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted):
        settle(batch(server, path), requests(80), path)
    assert len(api.batches) == 2
    for under_way in api.batches.values():
        under_way["polls"] = 0
    given = settle(batch(server, path), requests(80), path)
    assert all(map(right, given.values()))
    assert len(api.batches) == 2, "nothing was submitted twice"


def test_a_batch_whose_answer_was_lost_is_found_by_its_mark(
    server: Loopback, api: BatchServer, path: Path
) -> None:
    api.forget = True
    given = settle(batch(server, path), requests(30), path)
    assert all(map(right, given.values()))
    assert len(api.batches) == 1


def test_a_reply_that_came_but_was_not_kept_is_not_paid_for_again(
    server: Loopback, api: BatchServer, path: Path
) -> None:
    settle(batch(server, path), requests(30), path)
    for file in path.parent.glob("journal*"):
        file.unlink()
    given = settle(batch(server, path), requests(30), path)
    assert all(map(right, given.values()))
    assert len(api.batches) == 1


def test_a_file_holds_no_more_bytes_than_allowed(
    server: Loopback, api: BatchServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 2000)
    given = settle(batch(server, path), requests(40), path)
    assert all(map(right, given.values()))
    assert len(api.batches) > 3
    for lines in api.inputs():
        assert sum(len(json.dumps(line)) + 1 for line in lines) <= 2000


def test_too_many_requests_for_a_batch_are_refused_in_the_yaml(path: Path) -> None:
    with pytest.raises(ConfigError, match="requests: must be a number of at most 50000"):
        create("chat_model", "openai_batch", model="m", folder=path, requests=50_001)


def test_a_queue_that_is_full_is_waited_for_and_another_failure_stops(
    server: Loopback, api: BatchServer, path: Path
) -> None:
    api.failed = ["token_limit_exceeded"]
    assert all(map(right, settle(batch(server, path), requests(10), path).values()))
    api.failed = ["model_not_found"]
    with pytest.raises(ChatUnusable, match="turned away: model_not_found: so it is"):
        settle(batch(server, path), requests(20), path)


def test_a_folder_of_something_else_is_refused(server: Loopback, path: Path) -> None:
    folder = path.with_name("batches")
    folder.mkdir()
    (folder / "instances.json").write_text('{"images": []}')
    with pytest.raises(InputError, match=r"instances\.json is no batch's; give `folder` a folder"):
        settle(batch(server, path), requests(1), path)


def test_polling_outlives_a_server_that_is_away_for_a_while(
    server: Loopback, api: BatchServer, path: Path
) -> None:
    away = iter(range(5))

    def sometimes(asked: Asked) -> Answer:
        polls = asked.method == "GET" and asked.path.startswith("/v1/batches/")
        if polls and next(away, None) is not None:
            return Answer(cut=0.0)
        return api(asked)

    server.behave = sometimes
    given = settle(batch(server, path), requests(5), path, attempts=1)
    assert all(map(right, given.values()))
    assert next(away, None) is None


def test_a_picture_that_cannot_be_sent_keeps_no_other_request_from_it(
    server: Loopback, path: Path
) -> None:
    file = path.with_name("noise.png")
    file.write_bytes(b"noise")
    turns = (Turn("user", (ImageSlot(0), "What?")),)
    given = settle(batch(server, path), [ChatRequest("a", turns, (file,)), *requests(5)], path)
    assert given.pop("a").missing == "refused"
    assert all(map(right, given.values()))


def test_it_keeps_the_contract(server: Loopback, path: Path) -> None:
    check_chat_model(batch(server, path).config)
