"""`openai_batch`: requests by the file, at half the price, answered within a day.

OpenAI's Batch API: a file holds at most 50,000 requests or 200 MB, replies come in any order and
are joined by custom id, and a batch goes on at the server whatever becomes of whoever asked. A run
that was stopped finds its batches again and submits nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from isthmus.core.chat import failure_of
from isthmus.core.contracts import BatchChatModel, ChatReply, ChatRequest, DataPath
from isthmus.errors import (
    ChatFailure,
    ChatOverloaded,
    ChatUnreachable,
    ChatUnusable,
)
from isthmus.plugins.chat_models.openai.batch_folder import Batch, BatchFolder
from isthmus.plugins.chat_models.openai.endpoint import Endpoint, EndpointConfig, identity_of
from isthmus.plugins.chat_models.openai.wire import body_of, read_body

MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000
URL = "/v1/chat/completions"
MARK = "isthmus"
"""The entry of a batch's metadata that says which of ours it is."""
HTTP_SECONDS = 600.0
"""What one upload, download or question may take."""
LOST_POLLS = 60
"""Questions after a batch in a row that may fail."""
OVER = ("completed", "expired", "cancelled", "failed")


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
        self._lock = asyncio.Lock()
        self._given: set[str] = set()

    async def close(self) -> None:
        await self._endpoint.close()

    def read(self, raw: str) -> ChatReply:
        return read_body(raw)

    async def replies(self, requests: Sequence[ChatRequest]) -> Sequence[str | ChatFailure]:
        names = [_name(request, self.config) for request in requests]
        async with self._lock:  # submitting takes turns, waiting does not
            await self._find_lost()
            batches = {batch.mark: batch for batch in self._holding(names)}
            known = {member for batch in batches.values() for member in batch.members}
            new = [r for r, name in zip(requests, names, strict=True) if name not in known]
            for part in self._parts(new):
                batch = await self._submit(*part)
                batches[batch.mark] = batch
        results: dict[str, str | ChatFailure] = {}
        wanted = set(names)
        for batch in batches.values():
            status = await self._wait(batch)
            for name, line in self._folder.lines(batch):
                if name in wanted:
                    results[name] = _result(line)
            for name in wanted.intersection(batch.members) - results.keys():
                results[name] = ChatUnreachable(f"batch {batch.id} {status} without this one")
        self._given |= wanted
        return [results[name] for name in names]

    def _holding(self, names: Sequence[str]) -> Iterator[Batch]:
        """Batches that have, or will have, a reply to some of these. What was handed over before
        and is asked for again was of no use."""
        wanted = set(names) - self._given
        for batch in self._folder.batches:
            if not batch.over and wanted.intersection(batch.members):
                yield batch
            elif batch.over:
                useful = {n for n, line in self._folder.lines(batch) if _is_reply(line)}
                if wanted & useful:
                    yield Batch(batch.mark, tuple(useful), batch.id, over=True)

    async def _find_lost(self) -> None:
        """Ask the server for the ids of batches that were submitted and perhaps arrived."""
        lost = {batch.mark: batch for batch in self._folder.batches if batch.id is None}
        if not lost:
            return

        async def search() -> None:
            async for found in self._endpoint.client.batches.list(limit=100):
                mark = (found.metadata or {}).get(MARK)
                if mark in lost:
                    batch = lost.pop(mark)
                    batch.id = found.id
                    self._folder.keep(batch)

        await self._http(search)
        for batch in lost.values():
            self._folder.forget(batch)

    def _parts(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[list[str], Path]]:
        """Names and an input file for as many requests as a batch may have, until all are in."""
        rest = list(requests)
        while rest:
            names: list[str] = []

            def lines(names: list[str] = names) -> Iterator[bytes]:
                size = 0
                for request in rest[:MOST_REQUESTS]:
                    line = _line(request, self.config)
                    size += len(line)
                    if names and size > MOST_BYTES:
                        return
                    names.append(_name(request, self.config))
                    yield line

            file = self._folder.input(lines(), "next")
            yield names, file
            del rest[: len(names)]

    async def _submit(self, names: Sequence[str], file: Path) -> Batch:
        client = self._endpoint.client

        async def upload() -> str:
            return str((await client.files.create(file=file, purpose="batch")).id)

        async def create() -> str:
            made = await client.batches.create(
                input_file_id=uploaded,
                endpoint=URL,
                completion_window="24h",
                metadata={MARK: batch.mark},
            )
            return str(made.id)

        uploaded = await self._http(upload)
        file.unlink()
        batch = self._folder.begin(names)
        batch.id = await self._http(create)
        self._folder.keep(batch)
        return batch

    async def _wait(self, batch: Batch) -> str:
        """Until the batch is over and its output is here; returns how it ended."""
        client, lost = self._endpoint.client, 0
        while not batch.over:
            try:
                now = await self._http(lambda: client.batches.retrieve(batch.id))
                lost = 0
            except (ChatUnreachable, ChatOverloaded) as failure:
                # The question is put again anyway: that is no request tried twice.
                lost += 1
                if lost > LOST_POLLS:
                    raise
                await asyncio.sleep(max(self.config.poll, failure.retry_after or 0))
                continue
            if now.status in OVER:
                if now.status == "failed":
                    self._folder.finish(batch, [])
                    raise _failed(batch, now)
                files = [name for name in (now.output_file_id, now.error_file_id) if name]
                self._folder.finish(batch, [await self._download(name) for name in files])
                return str(now.status)
            await asyncio.sleep(self.config.poll)
        return "ended"

    async def _download(self, name: str) -> str:
        async def fetch() -> str:
            return str((await self._endpoint.client.files.content(name)).text)

        text = self._endpoint.hide(await self._http(fetch))
        return text if text.endswith("\n") or not text else f"{text}\n"

    async def _http(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """One exchange with the server; what goes wrong becomes a ChatFailure."""
        try:
            async with asyncio.timeout(HTTP_SECONDS):
                return await call()
        except TimeoutError:
            raise ChatUnreachable(f"no answer in {HTTP_SECONDS:g} s") from None
        except Exception as error:
            failure = self._endpoint.failure(error)
            if failure is None:
                raise
            raise failure from None


def _name(request: ChatRequest, config: EndpointConfig) -> str:
    """The custom id: what is asked, hashed, so that it is the same in a later run."""
    said = json.dumps([body_of(request, config), request.draw], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:48]


def _line(request: ChatRequest, config: EndpointConfig) -> bytes:
    said = {
        "custom_id": _name(request, config),
        "method": "POST",
        "url": URL,
        "body": body_of(request, config),
    }
    return json.dumps(said).encode() + b"\n"


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


def _failed(batch: Batch, now: Any) -> ChatFailure:
    """What a batch that was not even begun means: too much enqueued, or no batch at all."""
    errors = (now.errors.data if now.errors else None) or []
    why = "; ".join(f"{error.code}: {error.message}" for error in errors[:3]) or "no reason given"
    if any(error.code == "token_limit_exceeded" for error in errors):
        return ChatOverloaded(f"batch {batch.id}: {why}")
    return ChatUnusable(f"batch {batch.id} was turned away: {why}")
