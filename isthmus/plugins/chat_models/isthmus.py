"""`isthmus`: a model that was trained here, from its checkpoint."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from isthmus import hookimpl
from isthmus.core.chat import whole_turns
from isthmus.core.contracts import (
    BatchChatModel,
    ChatParameters,
    ChatReply,
    ChatRequest,
    DataPath,
)
from isthmus.errors import ChatFailure, ChatRefused, DataError

LONGEST = 512
"""Tokens of a reply where the request sets no limit."""


class Isthmus(BatchChatModel, name="isthmus"):
    """A checkpoint, or the newest whole one of a run: answers questions about images."""

    class Config(BatchChatModel.Config):
        """Configuration of `isthmus`."""

        checkpoint: DataPath
        """Folder of a run, or of one of its checkpoints."""
        batch_size: int = Field(default=8, ge=1)
        """Requests at once."""
        device: str | None = None
        """cpu, cuda, cuda:1, mps; absent, the fastest there is."""

    config: Config

    @property
    def sees(self) -> bool:
        return True

    @property
    def most_calls(self) -> int:
        return 1

    @property
    def batch_size(self) -> int:
        return self.config.batch_size

    @cached_property
    def folder(self) -> Path:
        """The checkpoint, which stays the same when a newer one is saved meanwhile."""
        from isthmus.core.checkpoint import latest

        return latest(self.config.checkpoint)

    def identity(self) -> dict[str, Any]:
        """By its manifest, which has the hash of every file; it may lie anywhere."""
        from isthmus.core.assistant import name_of
        from isthmus.core.checkpoint import load

        listed = load(self.folder, deep=False).manifest.to_json()
        digest = hashlib.sha256(listed.encode()).hexdigest()
        return {"type": self.name, "model": name_of(self.folder), "manifest": digest}

    async def open(self) -> None:
        from isthmus.core.assistant import load

        self._assistant = await asyncio.to_thread(load, self.folder, self.config.device)

    async def close(self) -> None:
        del self._assistant

    async def replies(self, requests: Sequence[ChatRequest]) -> Sequence[str | ChatFailure]:
        return await asyncio.to_thread(self._replies, requests)

    def _replies(self, requests: Sequence[ChatRequest]) -> list[str | ChatFailure]:
        """Those that are to be drawn alike are answered together."""
        answers: dict[int, str | ChatFailure] = {}
        open_ = list(range(len(requests)))
        while open_:
            settings = _settings(requests[open_[0]].parameters)
            alike = [i for i in open_ if _settings(requests[i].parameters) == settings]
            answers |= zip(alike, self._answer([requests[i] for i in alike], settings), strict=True)
            open_ = [i for i in open_ if i not in answers]
        return [answers[i] for i in range(len(requests))]

    def _answer(
        self, requests: Sequence[ChatRequest], settings: dict[str, Any]
    ) -> list[str | ChatFailure]:
        from isthmus.core.assistant import Conversation

        talks = [Conversation(whole_turns(request.turns), request.images) for request in requests]
        numbers = [request.number for request in requests]
        try:
            replies = self._assistant.full_answers(talks, len(talks), numbers=numbers, **settings)
        except DataError as error:  # an image that cannot be read; perhaps of one request alone
            if len(requests) == 1:
                return [ChatRefused(str(error))]
            return [self._answer([request], settings)[0] for request in requests]
        return [
            ChatReply(
                reply.text, reply.ending, self._assistant.name, reply.prompt_tokens, reply.tokens
            ).raw()
            for reply in replies
        ]


def _settings(parameters: ChatParameters) -> dict[str, Any]:
    return {
        "max_new_tokens": parameters.max_tokens or LONGEST,
        "temperature": parameters.temperature or 0.0,
        "top_p": parameters.top_p or 1.0,
        "seed": parameters.seed or 0,
    }


@hookimpl
def register_chat_models(register: Callable[[type], None]) -> None:
    register(Isthmus)
