"""What is written down of an endpoint, and what of it determines its replies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from isthmus.core.contracts import ChatModel, Place

OPENAI = "https://api.openai.com/v1"


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
