"""`openai_batch`: requests by the file, at half the price, answered within a day.

OpenAI's Batch API: a file holds at most 50,000 requests or 200 MB, replies come in any order and
are joined by custom id, and a batch goes on at the server whatever becomes of whoever asked. A run
that was stopped finds its batches again and submits nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from isthmus.core.chat import failure_of
from isthmus.core.contracts import BatchChatModel, ChatReply, ChatRequest, DataPath
from isthmus.errors import ChatFailure, ChatRefused, ChatUnreachable, InputError
from isthmus.plugins.chat_models.openai.batch_folder import Batch, BatchFolder
from isthmus.plugins.chat_models.openai.batch_queue import URL, BatchQueue
from isthmus.plugins.chat_models.openai.endpoint import Endpoint
from isthmus.plugins.chat_models.openai.endpoint_config import EndpointConfig, identity_of
from isthmus.plugins.chat_models.openai.wire import body_of, read_body

MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000


class OpenAIBatch(BatchChatModel, name="openai_batch"):
    """OpenAI's Batch API and what speaks like it: half the price, within a day."""

    class Config(EndpointConfig):
        """Configuration of `openai_batch`."""

        folder: DataPath
        """Where its files are kept, and which batches are under way; of one run."""
        requests: int = Field(default=10_000, ge=1, le=MOST_REQUESTS)
        """Requests of a batch at most; all of them are in memory while it is made."""
        poll: float = Field(default=60.0, gt=0)
        """Seconds between two questions whether a batch is over."""

    config: Config

    @property
    def sees(self) -> bool:
        return True

    @property
    def structured(self) -> bool:
        return self.config.keeps_schema

    @property
    def most_calls(self) -> int:
        return 4

    @property
    def batch_size(self) -> int:
        return self.config.requests

    @property
    def resumes(self) -> bool:
        return True

    def identity(self) -> dict[str, Any]:
        return identity_of(self.config)

    async def open(self) -> None:
        self._folder = BatchFolder(self.config.folder)
        self._endpoint = Endpoint(self.config)
        self._queue = BatchQueue(self._endpoint, self._folder, self.config.poll)
        self._lock = asyncio.Lock()
        self._given: set[str] = set()

    async def close(self) -> None:
        await self._endpoint.close()

    def read(self, raw: str) -> ChatReply:
        return read_body(raw)

    async def replies(self, requests: Sequence[ChatRequest]) -> Sequence[str | ChatFailure]:
        results: dict[str, str | ChatFailure] = {}
        asked: dict[str, ChatRequest] = {}
        for request in requests:
            try:
                asked[_written(request, self.config)[0]] = request
            except InputError as error:
                results[request.id] = ChatRefused(str(error))
        batches = await self._submitted(asked)
        for batch in batches:
            ours = {name: asked[name].id for name in batch.members if name in asked}
            status = await self._queue.wait(batch)
            for name, line in self._folder.lines(batch):
                if name in ours:
                    results[ours.pop(name)] = _result(line)
            for id in ours.values():
                results[id] = ChatUnreachable(f"batch {batch.id} {status} without this one")
        self._given |= asked.keys()
        return [results[request.id] for request in requests]

    async def _submitted(self, asked: Mapping[str, ChatRequest]) -> list[Batch]:
        """Batches that have these or will: some from earlier, and new ones for the rest."""
        async with self._lock:  # submitting takes turns, waiting does not
            await self._queue.find_lost()
            batches = list(self._holding(asked))
            known = {member for batch in batches for member in batch.members}
            new = [request for name, request in asked.items() if name not in known]
            for names, file in self._parts(new):
                batches.append(await self._queue.submit(names, file))
        return batches

    def _holding(self, asked: Mapping[str, ChatRequest]) -> Iterator[Batch]:
        """Batches that have, or will have, a reply to some of these. What was handed over before
        and is asked for again was of no use."""
        wanted = asked.keys() - self._given
        for batch in self._folder.batches:
            ours = wanted.intersection(batch.members)
            if ours and batch.over:
                ours &= {name for name, line in self._folder.lines(batch) if _is_reply(line)}
            wanted -= ours
            if ours:
                yield Batch(batch.mark, tuple(ours), batch.id, over=True) if batch.over else batch

    def _parts(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[list[str], Path]]:
        """Names and an input file for as many requests as a batch may have, until all are in."""
        rest = list(requests)
        while rest:
            names: list[str] = []

            def lines(names: list[str] = names) -> Iterator[bytes]:
                size = 0
                for request in rest[:MOST_REQUESTS]:
                    name, line = _written(request, self.config)
                    size += len(line)
                    if names and size > MOST_BYTES:
                        return
                    names.append(name)
                    yield line

            file = self._folder.input(lines(), "next")
            yield names, file
            del rest[: len(names)]


def _written(request: ChatRequest, config: EndpointConfig) -> tuple[str, bytes]:
    """The custom id, which is what is asked, hashed, and so the same in a later run; and the line
    of an input file."""
    body = body_of(request, config)
    said = json.dumps([body, request.draw], sort_keys=True)
    name = hashlib.sha256(said.encode()).hexdigest()[:48]
    line = json.dumps({"custom_id": name, "method": "POST", "url": URL, "body": body})
    return name, line.encode() + b"\n"


def _is_reply(line: str) -> bool:
    return isinstance(_result(line), str)


def _result(line: str) -> str | ChatFailure:
    """The line itself where it holds a reply, which `read` finds in it."""
    said = json.loads(line)
    response, error = said.get("response"), said.get("error")
    if isinstance(response, dict) and response.get("status_code") == 200:
        return line
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        return failure_of(response["status_code"], json.dumps(response.get("body")))
    return ChatUnreachable(f"in the batch: {json.dumps(error)[:200]}")
