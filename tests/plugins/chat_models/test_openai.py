"""`openai`: what goes over the wire, what comes back, and that no key is ever seen."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from isthmus.core.chat import Journal
from isthmus.core.config import create, validate_part
from isthmus.core.contracts import ChatParameters, ChatReply, ChatRequest, ImageSlot, Turn
from isthmus.errors import ChatBroken, ChatUnusable, ConfigError, InputError
from isthmus.testing import check_chat_model
from tests.core.chat.talks import endpoint, request, requests, right, settle
from tests.loopback import Answer, Asked, completion, error, good, loopback, words_for

KEY = "sk-proj-5ecret-0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def sent(path: Path, asked: ChatRequest, **fields: Any) -> Asked:
    """What the server sees of this."""
    with loopback() as server:
        settle(endpoint(server, **fields), [asked], path)
        (seen,) = server.ledger
    return seen


def test_the_body_is_what_the_interface_says(path: Path) -> None:
    asked = request(1, temperature=0.5, top_p=0.9, max_tokens=50, seed=3)
    seen = sent(path, asked, extra={"top_k": 20})
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["content-type"] == "application/json"
    assert seen.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "say 1"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 3,
        "top_k": 20,
    }


def test_what_is_not_set_is_not_sent(path: Path) -> None:
    assert sent(path, request(1, max_tokens=None)).body.keys() == {"model", "messages"}


@pytest.mark.parametrize("structured", [True, False, None])
def test_a_schema_goes_to_endpoints_that_keep_to_one(path: Path, structured: bool | None) -> None:
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}}
    seen = sent(path, request(1, json_schema=schema), structured=structured)
    if structured:
        form = seen.body["response_format"]
        assert form["type"] == "json_schema"
        assert form["json_schema"]["schema"] == schema
    else:
        assert "response_format" not in seen.body


def test_openai_itself_has_its_own_words() -> None:
    ours = create("chat_model", "openai", model="gpt-4o")
    assert ours.structured
    assert ours.config.longest == "max_completion_tokens"
    other = create("chat_model", "openai", model="m", base_url="http://localhost:8000/v1")
    assert not other.structured
    assert other.config.longest == "max_tokens"


def test_images_go_as_their_own_bytes_or_as_png(path: Path, tmp_path: Path) -> None:
    picture = Image.new("RGB", (5, 4), "red")
    jpeg, bitmap = tmp_path / "a.jpg", tmp_path / "b.bmp"
    picture.save(jpeg)
    picture.save(bitmap)
    content = ("Compare ", ImageSlot(0), " with ", ImageSlot(1), ImageSlot(2))
    asked = ChatRequest("a", (Turn("user", content),), (jpeg, bitmap, picture))
    pieces = sent(path, asked).body["messages"][0]["content"]
    assert [piece["type"] for piece in pieces] == ["text", "image_url", "text", *["image_url"] * 2]
    urls = [piece["image_url"]["url"] for piece in pieces if piece["type"] == "image_url"]
    heads, contents = zip(*(url.split(";base64,") for url in urls), strict=True)
    assert heads == ("data:image/jpeg", "data:image/png", "data:image/png")
    assert base64.b64decode(contents[0]) == jpeg.read_bytes()
    for content in contents[1:]:
        assert Image.open(BytesIO(base64.b64decode(content))).tobytes() == picture.tobytes()


def test_half_characters_are_sent_as_what_utf_8_can_say(path: Path) -> None:
    asked = ChatRequest("a\ud800", (Turn("user", ("\ud83d\ude00 and \udc00",)),))
    assert sent(path, asked).prompt == "\U0001f600 and \ufffd"


def test_a_streamed_reply_is_the_reply(path: Path, tmp_path: Path) -> None:
    with loopback() as server:
        whole = settle(endpoint(server), requests(20), path)
        pieces = settle(endpoint(server, stream=True), requests(20), tmp_path / "b.sqlite")
        plain = endpoint(server, stream=True, stream_usage=False)
        silent = settle(plain, requests(20), tmp_path / "c.sqlite")
        streamed = [asked for asked in server.ledger if asked.body.get("stream")]
        assert len(streamed) == 40
        assert sum("stream_options" in asked.body for asked in streamed) == 20
    assert {k: o.reply for k, o in whole.items()} == {k: o.reply for k, o in pieces.items()}
    assert all(map(right, silent.values()))
    assert {o.reply.spent for o in silent.values() if o.reply} == {None}


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_url": "localhost:8000"}, r"base_url: 'localhost:8000' is no address; write https"),
        ({"base_url": "https://me:secret@host/v1"}, "base_url: an address is part of the journal"),
        ({"base_url": "https://host/v1?key=secret"}, "name the variable that has it: `api_key_env"),
        ({"extra": {"messages": []}}, r"extra\.messages: is not for `extra` to set"),
        ({"api_key": "sk-1"}, "a secret does not belong in a YAML; name the variable: `api_key_en"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_yaml_is_said_before_anything_is_asked(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        validate_part("chat_model", {"type": "openai", "model": "m", **fields})
    assert "me:secret" not in str(caught.value)


MODEL = create("chat_model", "openai", model="m", base_url="http://localhost:1/v1")


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": "stop", **fields}], "model": "x"}


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (choice(message={"content": "Hi"}), ChatReply("Hi", "stop", "x")),
        (
            choice(message={"content": "Hi"}, finish_reason="length"),
            ChatReply("Hi", "length", "x"),
        ),
        (choice(message={"content": None}, finish_reason="length"), ChatReply("", "length", "x")),
        (choice(message={"content": ""}), ChatReply("", "stop", "x")),
        (
            choice(message={"content": None, "refusal": "I will not."}),
            ChatReply("I will not.", "refusal", "x"),
        ),
        (
            choice(message={"content": "a"}, finish_reason="content_filter"),
            ChatReply("a", "refusal", "x"),
        ),
        (
            choice(message={"content": "a"}, finish_reason="tool_calls"),
            ChatReply("a", "other", "x"),
        ),
        (
            {**choice(message={"content": "a"}), "usage": {"prompt_tokens": 3, "total_tokens": 9}},
            ChatReply("a", "stop", "x"),
        ),
        (
            choice(message={"content": "\ud83d\ude00\udc00"}),
            ChatReply("\U0001f600\ufffd", "stop", "x"),
        ),
    ],
    ids=str,
)
def test_what_came_is_read(body: dict[str, Any], reply: ChatReply) -> None:
    assert MODEL.read(json.dumps(body)) == reply


@pytest.mark.parametrize(
    ("raw", "message", "spent"),
    [
        ("", "not JSON", None),
        ('{"choices": [', "not JSON", None),
        ("[" * 100_000, "not JSON", None),
        ("null", "no chat completion", None),
        ('{"error": {"message": "oops"}}', "no chat completion: .*oops", None),
        (
            '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}',
            "no cho",
            (3, 0),
        ),
        ('{"choices": ["text"]}', "a choice without a message", None),
        ('{"choices": [{"message": {"content": null}}]}', "a message without content", None),
        ('{"choices": [{"message": {"content": ["a"]}}]}', "a message without content", None),
        ("[]", "no choices", None),
    ],
)
def test_what_is_no_reply_is_broken(raw: str, message: str, spent: tuple[int, int] | None) -> None:
    with pytest.raises(ChatBroken, match=message) as caught:
        MODEL.read(raw)
    assert caught.value.spent == spent


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "delta", "finish_reason", "custom_id"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@drawn(VALUES)
def test_whatever_comes_is_a_reply_or_broken(value: Any) -> None:
    with suppress(ChatBroken):
        assert isinstance(MODEL.read(json.dumps(value)), ChatReply)


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


def test_words_are_those_of_the_server(path: Path) -> None:
    """The whole way, by hand: no test of ours computes what it then compares with itself."""
    with loopback() as server:
        given = settle(endpoint(server), [request(5, temperature=0)], path)
    assert given["r5"].reply == ChatReply(
        words_for("say 5"), "stop", "loopback-1", 2, len(words_for("say 5").split())
    )
    assert ChatParameters(temperature=0) == request(5, temperature=0).parameters
