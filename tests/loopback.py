"""A server of chat completions on this machine, which fails as it is told to and keeps a ledger.

Plain HTTP/1.1 on sockets: it can cut a connection in the middle of a body, which a web framework
will not do. What it answers follows from what it is asked, so any two runs can be compared.

    python -m tests.loopback SECONDS    serve until killed, each answer that late; prints its URL
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """One call as the server saw it. `before` are the calls for the same prompt that came before;
    `under_way` counts it too. `tokens` are those that it told the client of."""

    prompt: str
    before: int
    at: float
    under_way: int
    headers: dict[str, str]
    body: dict[str, Any]
    path: str = ""
    method: str = "POST"
    kind: str = "answer"
    tokens: tuple[int, int] = (0, 0)
    ended: float = 0.0


@dataclass
class Answer:
    """What the server does: wait, send, and perhaps cut the connection short."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut: float | None = None
    """Share of the body after which the connection is dropped; 0 sends nothing at all."""
    pieces: int = 1
    """In how many pieces the body goes out."""


Behave = Callable[[Asked], Answer]


def words_for(prompt: str) -> str:
    """The answer to a prompt: a few words that follow from it."""
    digest = hashlib.sha256(prompt.encode()).hexdigest() * 2
    return " ".join(digest[i : i + 5] for i in range(0, 5 * (3 + int(digest[0], 16)), 5))


def completion(asked: Asked, text: str | None = None, **message: Any) -> dict[str, Any]:
    """A chat completion, its tokens counted as words and put in the ledger."""
    text = words_for(asked.prompt) if text is None else text
    asked.tokens = (len(asked.prompt.split()), len(text.split()))
    prompt, answer = asked.tokens
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "loopback-1",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        },
    }


def good(asked: Asked) -> Answer:
    """What a server does that is well."""
    if asked.body.get("stream"):
        return Answer(body=streamed(asked), headers={"Content-Type": "text/event-stream"}, pieces=3)
    return Answer(body=json.dumps(completion(asked)).encode())


def error(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as OpenAI words it; `Retry_After="1"` is a header."""
    body = {"error": {"message": message, "type": "error", "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), named)


def streamed(asked: Asked) -> bytes:
    """The same completion as server-sent events."""
    whole = completion(asked)
    deltas = [{"content": f"{word} "} for word in words_for(asked.prompt).split()]
    deltas[-1] = {"content": deltas[-1]["content"].strip()}
    base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "loopback-1"}
    chunks: list[dict[str, Any]] = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**base, "choices": [], "usage": whole["usage"]})
    else:
        asked.tokens = (0, 0)
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


class Loopback:
    """The server, in a thread of its own, while the `with` block lasts."""

    def __init__(self, behave: Behave = good) -> None:
        self.behave = behave
        self.ledger: list[Asked] = []
        self.url = ""
        self._under_way = 0
        self._calls: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Loopback:
        self._thread.start()
        self._up.wait(10)
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def most_under_way(self) -> int:
        """Calls at once at most."""
        return max((asked.under_way for asked in self.ledger), default=0)

    def calls(self, prompt: str) -> list[Asked]:
        """All calls for one prompt, in order."""
        return [asked for asked in self.ledger if asked.prompt == prompt]

    def answered(self) -> Counter[str]:
        """Prompt -> how often it was answered well."""
        return Counter(asked.prompt for asked in self.ledger if asked.kind == "answer")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._up.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def asked(self, method: str, path: str, headers: dict[str, str], content: bytes) -> Asked:
        """A call came in."""
        body = json.loads(content) if headers.get("content-type") == "application/json" else {}
        messages = body.get("messages") or [{"content": path}]
        prompt = messages[-1]["content"]
        prompt = prompt if isinstance(prompt, str) else json.dumps(prompt)
        self._under_way += 1
        before = self._calls[prompt]
        self._calls[prompt] += 1
        body = body or {"content": content}
        now = time.monotonic()
        asked = Asked(prompt, before, now, self._under_way, headers, body, path, method)
        self.ledger.append(asked)
        return asked

    def over(self, asked: Asked) -> None:
        """A call was answered, or its client went away."""
        if not asked.ended:
            asked.ended = time.monotonic()
            self._under_way -= 1


class _Connection(asyncio.Protocol):
    """One connection: calls one after another."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.came = b""
        self.current: Asked | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.current is not None:
            self.server.over(self.current)

    def data_received(self, data: bytes) -> None:
        self.came += data
        head, mark, rest = self.came.partition(b"\r\n\r\n")
        if not mark:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", "0"))
        if len(rest) < size:
            return
        content, self.came = rest[:size], rest[size:]
        method, path, _ = first.split()
        asked = self.server.asked(method, path, headers, content)
        answer = self.server.behave(asked)
        self.current = asked
        loop = asyncio.get_running_loop()
        loop.call_later(answer.seconds, self._send, asked, answer)

    def _send(self, asked: Asked, answer: Answer) -> None:
        if self.transport.is_closing():
            return
        kinds = {"Content-Type": "application/json", "Content-Length": str(len(answer.body))}
        lines = [f"{k}: {v}" for k, v in (kinds | answer.headers).items()]
        head = f"HTTP/1.1 {answer.status} X\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        self.server.over(asked)
        self.current = None
        if answer.cut is not None:
            if answer.cut:
                part = answer.body[: int(len(answer.body) * answer.cut)]
                self.transport.write(head.encode() + part)
            self.transport.close() if answer.cut else self.transport.abort()
            return
        step = -(-len(answer.body) // answer.pieces) or 1
        self.transport.write(head.encode() + answer.body[:step])
        for at in range(step, len(answer.body), step):
            self.transport.write(answer.body[at : at + step])


@contextmanager
def loopback(behave: Behave = good) -> Iterator[Loopback]:
    """A server for the length of a block."""
    with Loopback(behave) as server:
        yield server


def main(seconds: float) -> None:
    """Serve until killed."""

    def late(asked: Asked) -> Answer:
        answer = good(asked)
        answer.seconds = seconds
        return answer

    with Loopback(late) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(float(sys.argv[1]))
