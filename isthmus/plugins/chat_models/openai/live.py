"""`openai`: one call for each request, to OpenAI, Azure, vLLM, SGLang, Ollama and the like."""

from __future__ import annotations

import json
from typing import Any

from isthmus.core.contracts import ChatModel, ChatReply, ChatRequest
from isthmus.plugins.chat_models.openai.endpoint import Endpoint
from isthmus.plugins.chat_models.openai.endpoint_config import EndpointConfig, identity_of
from isthmus.plugins.chat_models.openai.wire import body_of, read_body


class OpenAI(ChatModel, name="openai"):
    """Any endpoint that speaks OpenAI's chat completions, through the official client."""

    class Config(EndpointConfig):
        """Configuration of `openai`."""

        stream: bool = False
        """Have replies come in pieces: for servers and proxies that cut silent connections."""
        stream_usage: bool = True
        """Ask a stream for its tokens (`stream_options`); some servers refuse the question."""

    config: Config

    @property
    def sees(self) -> bool:
        return True

    @property
    def structured(self) -> bool:
        return self.config.keeps_schema

    def identity(self) -> dict[str, Any]:
        return identity_of(self.config)

    async def open(self) -> None:
        self._endpoint = Endpoint(self.config)

    async def close(self) -> None:
        await self._endpoint.close()

    async def reply(self, request: ChatRequest) -> str:
        body = body_of(request, self.config)
        try:
            if self.config.stream:
                raw = await self._streamed(body)
            else:
                raw = await self._endpoint.post(body)
        except Exception as error:
            failure = self._endpoint.failure(error)
            if failure is None:
                raise
            raise failure from None
        return self._endpoint.hide(raw)

    def read(self, raw: str) -> ChatReply:
        return read_body(raw)

    async def _streamed(self, body: dict[str, Any]) -> str:
        """The chunks as one list of JSON."""
        extra = {**self.config.extra}
        if self.config.stream_usage:
            extra["stream_options"] = {"include_usage": True}
        chunks = []
        stream = await self._endpoint.client.chat.completions.create(
            model=self.config.model,
            messages=body["messages"],
            stream=True,
            extra_body={k: v for k, v in body.items() if k not in ("model", "messages")} | extra,
        )
        async with stream:
            async for chunk in stream:
                chunks.append(chunk.model_dump(mode="json", exclude_unset=True))
        return json.dumps(chunks)
