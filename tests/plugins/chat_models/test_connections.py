"""The connections of `openai`: proxies, and what a connection that breaks may have cost."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from isthmus.core.config import create
from tests.core.chat.talks import request, requests, right, settle
from tests.loopback import loopback

FAR = "http://far.invalid/v1"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(("stream", "who"), [(False, "me:word@"), (False, ""), (True, "")])
def test_a_proxy_of_the_environment_is_used(
    tmp_path: Path, bare: pytest.MonkeyPatch, stream: bool, who: str
) -> None:
    with loopback() as server:
        port = server.url.split(":")[2].split("/")[0]
        bare.setenv("http_proxy", f"http://{who}127.0.0.1:{port}")
        model = create("chat_model", "openai", model="m", base_url=FAR, stream=stream)
        given = settle(model, requests(3), tmp_path / "j.sqlite")
        assert {asked.path for asked in server.ledger} == {f"{FAR}/chat/completions"}
        said = {asked.headers.get("proxy-authorization") for asked in server.ledger}
    assert said == {"Basic bWU6d29yZA==" if who else None}  # base64 of me:word
    assert all(map(right, given.values()))


def test_no_proxy_is_used_where_the_environment_says_so(
    tmp_path: Path, bare: pytest.MonkeyPatch
) -> None:
    bare.setenv("http_proxy", "http://127.0.0.1:9")
    bare.setenv("no_proxy", "127.0.0.1")
    with loopback() as server:
        model = create("chat_model", "openai", model="m", base_url=server.url)
        given = settle(model, requests(1), tmp_path / "j.sqlite")
        assert [asked.path for asked in server.ledger] == ["/v1/chat/completions"]
    assert all(map(right, given.values()))


@pytest.fixture
def resetting() -> Iterator[str]:
    """The address of a server that reads a call and resets the connection (TCP RST)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(100_000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_whose_connection_is_reset_is_booked_at_its_worst(
    resetting: str, tmp_path: Path, bare: pytest.MonkeyPatch, stream: bool
) -> None:
    model = create("chat_model", "openai", model="m", base_url=resetting, stream=stream)
    given = settle(model, [request(1)], tmp_path / "j.sqlite", attempts=2, backoff=0.001)
    assert given["r1"].reason.startswith("the connection broke off")
    with Journal(tmp_path / "j.sqlite", read_only=True) as journal:
        assert (journal.spend().calls, journal.spend().unmetered) == (2, 2)
