"""The endpoint: its address, its key, the client that speaks to it, and what its errors mean."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from isthmus.core.chat import failure_of
from isthmus.core.contracts import ChatModel, Place
from isthmus.errors import (
    ChatFailure,
    ChatUnreachable,
    ChatUnusable,
    InputError,
    PartError,
)

OPENAI = "https://api.openai.com/v1"
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


class EndpointConfig(ChatModel.Config):
    """Configuration of an endpoint."""

    model: str = Field(min_length=1)
    """The model's name there: `gpt-4o`, or what vLLM, SGLang or Ollama serve."""
    base_url: str = OPENAI
    """Its address, up to where `/chat/completions` follows: `http://localhost:8000/v1`,
    `https://NAME.openai.azure.com/openai/v1`."""
    api_key_env: str | None = None
    """Environment variable that holds the key. OPENAI_API_KEY for OpenAI itself; elsewhere no key
    is sent unless one is named here."""
    structured: bool | None = None
    """Whether it keeps to a JSON Schema (`response_format`); absent, OpenAI itself does and others
    are not relied on."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """What it calls the longest reply; absent, `max_completion_tokens` at OpenAI itself and
    `max_tokens` elsewhere."""
    extra: dict[str, Any] = Field(default={})
    """Further fields of the request's body, as they are: `{top_k: 20}`."""

    def check(self) -> Iterator[tuple[Place, str]]:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            yield ("base_url",), f"{self.base_url!r} is no address; write https://host/v1"
        elif url.username or url.password or url.query:
            yield (
                ("base_url",),
                "an address is part of the journal and holds no key; name the variable that has "
                "it: `api_key_env`",
            )
        for name in sorted({"model", "messages", "stream", "n"} & set(self.extra)):
            yield ("extra", name), "is not for `extra` to set"

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI itself."""
        return urlsplit(self.base_url).hostname == urlsplit(OPENAI).hostname

    @property
    def keeps_schema(self) -> bool:
        """Whether a JSON Schema is sent."""
        return self.is_openai if self.structured is None else self.structured

    @property
    def longest(self) -> str:
        """The field for the longest reply."""
        names = ("max_tokens", "max_completion_tokens")
        return self.max_tokens_field or names[self.is_openai]


INCIDENTAL = frozenset({"price", "api_key_env"})


def identity_of(config: EndpointConfig) -> dict[str, Any]:
    """What of an endpoint determines its replies, however it is asked: live or in batches."""
    said = config.model_dump(
        mode="json", include=EndpointConfig.model_fields.keys() - INCIDENTAL, exclude_defaults=True
    )
    return {"type": "openai", **said}


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
            return ChatUnreachable(self.hide(error.message), uncounted=True)
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
            return ChatUnusable(f"HTTP 429: {said}")
        if 300 <= status < 400:
            where = self.hide(response.headers.get("location", "elsewhere"))
            return ChatUnusable(f"HTTP {status}: base_url leads to {where}; write that instead")
        return failure_of(status, said, response.headers.get("retry-after"))


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
