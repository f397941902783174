"""The endpoint: its key, the client that speaks to it, and what its errors mean."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from isthmus.core.chat import failure_of, one_line
from isthmus.errors import (
    ChatBroken,
    ChatFailure,
    ChatUnreachable,
    ChatUnusable,
    InputError,
    PartError,
)
from isthmus.plugins.chat_models.openai.connections import Connections
from isthmus.plugins.chat_models.openai.endpoint_config import EndpointConfig

OPENAI_KEY = "OPENAI_API_KEY"
PATH = "/chat/completions"
NO_KEY = "none"
"""What is sent where no key is wanted; the client insists on one."""
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
"""Codes under which a 429 does not pass."""
TELEMETRY = "X-Stainless"
"""Headers in which the client says on what it runs; nobody here asks for that."""
TRANSPORTS = ("aiohttp", "httpcore", "httpcore2", "httpx", "httpx2")
"""Libraries below the client, whose errors come through while a reply is streamed."""
NEVER_SENT = ("ClientConnector", "ClientProxyConnection", "ConnectError")
"""Beginnings of names of errors, of aiohttp and of httpx, before anything was sent."""


class Endpoint:
    """The official client, and connections with its headers, until `close`."""

    def __init__(self, config: EndpointConfig) -> None:
        """Raises InputError where a key is missing, PartError where a library is."""
        self.key = _key(config)
        try:
            self.client = _client(config, self.key)
            said = {**self.client.default_headers, **self.client.auth_headers}
            headers = {
                name: value
                for name, value in said.items()
                if isinstance(value, str) and not name.startswith(TELEMETRY)
            }
            self._connections = Connections(config.base_url.rstrip("/") + PATH, headers)
        except ImportError as error:
            raise PartError(
                f"chat_model {config.owner.name}: needs the library {error.name}; "
                "pip install 'isthmus[openai]'"
            ) from None

    async def close(self) -> None:
        """Let go of all connections."""
        await self._connections.close()
        await self.client.close()

    async def post(self, body: Mapping[str, Any]) -> str:
        """The text of a completion."""
        came = await self._connections.post(json.dumps(body).encode())
        if not 200 <= came.status < 300:
            raise self._status(came.status, came.text, came.headers)
        return came.text

    def hide(self, text: str) -> str:
        """The text without the key, which some servers and proxies repeat."""
        return text.replace(self.key, "[key]") if self.key != NO_KEY else text

    def failure(self, error: Exception) -> ChatFailure | None:
        """What an error of the client or of what is below it means; None for a mistake in code."""
        import openai

        if isinstance(error, ChatFailure):
            return error
        if isinstance(error, openai.APIStatusError):
            answer = error.response
            return self._status(answer.status_code, answer.text, answer.headers)
        if isinstance(error, openai.APITimeoutError | openai.APIConnectionError):
            return _unreachable(error)
        if isinstance(error, openai.APIError):  # an error in the middle of a stream
            return ChatUnreachable(one_line(self.hide(error.message)), uncounted=True)
        if isinstance(error, ValueError):  # a piece of a stream that is half a JSON
            return ChatBroken(f"what came cannot be read ({type(error).__name__})")
        below = type(error).__module__.split(".")[0] in TRANSPORTS
        return _unreachable(error) if below or isinstance(error, OSError) else None

    def _status(self, status: int, text: str, headers: Mapping[str, str]) -> ChatFailure:
        said, code = _told(self.hide(text))
        if status == 429 and code in NO_MONEY:
            return ChatUnusable(f"HTTP 429: {one_line(said)}")
        if 300 <= status < 400:
            where = one_line(self.hide(headers.get("location", "elsewhere")))
            return ChatUnusable(f"HTTP {status}: base_url leads to {where}; write that instead")
        return failure_of(status, said, headers)


def _told(text: str) -> tuple[str, Any]:
    """Message and code of an error in OpenAI's form; else all that was written, and no code."""
    try:
        error = json.loads(text)["error"]
        return str(error["message"]), error.get("code")
    except (ValueError, TypeError, KeyError):
        return text, None


def _unreachable(error: BaseException) -> ChatFailure:
    """Without the error's own words, which may hold an address with more in it than ours has."""
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    never_sent = any(
        isinstance(cause, ConnectionRefusedError | socket.gaierror)
        or type(cause).__name__.startswith(NEVER_SENT)
        for cause in causes
    )
    what = "no connection" if never_sent else "the connection broke off"
    return ChatUnreachable(f"{what} ({type(causes[-1]).__name__})", uncounted=not never_sent)


def _key(config: EndpointConfig) -> str:
    name = config.api_key_env or (OPENAI_KEY if config.is_openai else None)
    if name is None:
        return NO_KEY
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError(
            f"chat_model {config.owner.name}: the environment variable {name} is not set; it holds "
            f"the key for {config.base_url}. Another one is named by `api_key_env`"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the environment variable {name} holds characters that no key has")
    return key


def _client(config: EndpointConfig, key: str) -> Any:
    """The official client, which tries once and waits as long as it is let."""
    import openai

    settings: dict[str, Any] = {"timeout": None, "follow_redirects": False}
    try:  # over aiohttp, which is the quicker one at hundreds of calls at once
        http = openai.DefaultAioHttpClient(**settings)
    except (RuntimeError, AttributeError):
        http = openai.DefaultAsyncHttpxClient(**settings)
    client = openai.AsyncOpenAI(
        api_key=key, base_url=config.base_url, max_retries=0, timeout=None, http_client=http
    )
    if not config.is_openai:
        client.organization = client.project = None  # set by the environment, for OpenAI alone
    return client
