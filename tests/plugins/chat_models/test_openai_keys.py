"""`openai`: no key is ever seen, and none goes to whom it was not given for."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from isthmus.core.config import create
from isthmus.errors import InputError
from isthmus.testing import check_chat_model
from tests.core.chat.talks import endpoint, request, requests, sent, settle
from tests.loopback import Answer, Asked, completion, error, good, loopback

KEY = "sk-proj-5ecret-0123456789"


def test_no_key_is_ever_seen(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a server that repeats it wherever it can: in errors, in replies, in a redirect."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    def echo(asked: Asked) -> Answer:
        said = f"your key is {asked.headers['authorization']}"
        number = int(asked.prompt.split()[1])
        if number == 0:
            return error(400, said)
        if number == 1 and asked.before < 9:
            return error(500, said)
        if number == 2 and asked.before == 0:
            return Answer(body=said.encode())
        return Answer(body=json.dumps(completion(asked, said)).encode())

    with loopback(echo) as server:
        model = endpoint(server, api_key_env="JUDGE_KEY")
        given = settle(model, requests(4), path, attempts=2, backoff=0.001)
        assert {asked.headers["authorization"] for asked in server.ledger} == {f"Bearer {KEY}"}
    assert [given[f"r{n}"].missing for n in range(4)] == ["refused", "gave_up", "", ""]
    seen = [repr(given), caplog.text, repr(model), json.dumps(model.identity())]
    assert all(KEY not in text for text in seen)
    for file in path.parent.iterdir():
        assert KEY.encode() not in file.read_bytes()
    assert given["r3"].reply is not None
    assert given["r3"].reply.text == "your key is Bearer [key]"
    assert given["r0"].reason == "HTTP 400: your key is Bearer [key]"


def test_openais_key_goes_to_nobody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-ours")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-ours")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    for number, stream in enumerate((False, True)):
        seen = sent(path.with_name(f"{number}.sqlite"), request(1), stream=stream)
        assert seen.headers["authorization"] == "Bearer none"
        assert "ours" not in str(seen.headers)


def test_a_key_that_is_not_set_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = create("chat_model", "openai", model="gpt-4o")
    message = r"environment variable OPENAI_API_KEY is not set; .* https://api\.openai\.com/v1"
    with pytest.raises(InputError, match=message):
        settle(model, requests(1), path)
    monkeypatch.setenv("MY_KEY", "sk-\u00e9")
    odd = create("chat_model", "openai", model="gpt-4o", api_key_env="MY_KEY")
    with pytest.raises(InputError, match="MY_KEY holds characters that no key has"):
        settle(odd, requests(1), path)


@pytest.mark.parametrize("stream", [False, True])
def test_it_keeps_the_contract(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def echo(asked: Asked) -> Answer:
        answer = good(asked)
        said = asked.headers["authorization"].encode()
        answer.body = answer.body.replace(b"loopback-1", said)
        return answer

    with loopback(echo) as server:
        check_chat_model(
            endpoint(server, stream=stream, api_key_env="JUDGE_KEY").config, secrets=[KEY]
        )
