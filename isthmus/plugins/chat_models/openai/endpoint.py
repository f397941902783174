"""The endpoint: its key, the client that speaks to it, and what its errors mean."""

from __future__ import annotations

import json
import os
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


class Endpoint:
    """The official client, and the connections that it was given, until `close`."""

    def __init__(self, config: EndpointConfig) -> None:
        """Raises InputError where a key is missing, PartError where the library is."""
        self.key = _key(config)
        self.client, self._http = _clients(config, self.key)
        said = {**self.client.default_headers, **self.client.auth_headers}
        headers = {
            name: value
            for name, value in said.items()
            if isinstance(value, str) and not name.startswith(TELEMETRY)
        }
        url = config.base_url.rstrip("/") + PATH
        self._pattern = self._http.build_request("GET", url, headers=headers)  # without a body

    async def close(self) -> None:
        """Let go of all connections."""
        await self.client.close()

    async def post(self, body: Mapping[str, Any]) -> str:
        """The text of a completion. Over the client's own connections and with its headers, but not
        through its models of requests and responses: they would take more of a processor than all
        the rest of a call, and let no more than some hundred calls through in a second."""
        like = self._pattern
        response = await self._http.send(
            type(like)("POST", like.url, headers=like.headers, content=json.dumps(body).encode())
        )
        if not response.is_success:
            raise self._status(response)
        return str(response.text)

    def hide(self, text: str) -> str:
        """The text without the key, which some servers and proxies repeat."""
        return text.replace(self.key, "[key]") if self.key != NO_KEY else text

    def failure(self, error: Exception) -> ChatFailure | None:
        """What an error of the client or of what is below it means; None for a mistake in code."""
        import openai

        if isinstance(error, ChatFailure):
            return error
        if isinstance(error, openai.APIStatusError):
            return self._status(error.response)
        if isinstance(error, openai.APITimeoutError | openai.APIConnectionError):
            return _unreachable(error)
        if isinstance(error, openai.APIError):  # an error in the middle of a stream
            return ChatUnreachable(one_line(self.hide(error.message)), uncounted=True)
        if isinstance(error, ValueError):  # a piece of a stream that is half a JSON
            return ChatBroken(f"what came cannot be read ({type(error).__name__})")
        below = type(error).__module__.split(".")[0] in TRANSPORTS
        return _unreachable(error) if below or isinstance(error, OSError) else None

    def _status(self, response: Any) -> ChatFailure:
        status, said, code = response.status_code, self.hide(response.text), None
        try:
            error = json.loads(said)["error"]
            said, code = str(error["message"]), error.get("code")
        except (ValueError, TypeError, KeyError, AttributeError):
            pass  # other servers have other words
        if status == 429 and code in NO_MONEY:
            return ChatUnusable(f"HTTP 429: {one_line(said)}")
        if 300 <= status < 400:
            where = one_line(self.hide(response.headers.get("location", "elsewhere")))
            return ChatUnusable(f"HTTP {status}: base_url leads to {where}; write that instead")
        return failure_of(status, said, response.headers)


def _unreachable(error: BaseException) -> ChatFailure:
    """Without the error's own words, which may hold an address with more in it than ours has."""
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    refused = any(
        isinstance(cause, ConnectionRefusedError) or "Connect" in type(cause).__name__
        for cause in causes[1:]
    )
    never_sent = refused and not any("Disconnected" in type(cause).__name__ for cause in causes)
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


def _clients(config: EndpointConfig, key: str) -> tuple[Any, Any]:
    """The official client, which tries once and waits as long as it is let, and its connections."""
    try:
        import openai
    except ImportError:
        raise PartError(
            f"chat_model {config.owner.name}: needs the library openai; "
            "pip install 'isthmus[openai]'"
        ) from None
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
    return client, http
