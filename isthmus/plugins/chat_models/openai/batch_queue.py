"""The server's side of batches: submitting them, asking after them, fetching what came out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from isthmus.core.chat import one_line
from isthmus.errors import ChatFailure, ChatOverloaded, ChatUnreachable, ChatUnusable
from isthmus.plugins.chat_models.openai.batch_folder import Batch, BatchFolder
from isthmus.plugins.chat_models.openai.endpoint import Endpoint

URL = "/v1/chat/completions"
MARK = "isthmus"
"""The entry of a batch's metadata that says which of ours it is."""
HTTP_SECONDS = 600.0
"""What one upload, download or question may take."""
LOST_POLLS = 60
"""Questions after a batch in a row that may fail."""
OVER = ("completed", "expired", "cancelled", "failed")


class BatchQueue:
    """The batches of one folder at one endpoint; `poll` are the seconds between questions."""

    def __init__(self, endpoint: Endpoint, folder: BatchFolder, poll: float) -> None:
        self._endpoint, self._folder, self._poll = endpoint, folder, poll

    async def find_lost(self) -> None:
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
                    if not lost:
                        return

        await self._http(search)
        for batch in lost.values():
            self._folder.forget(batch)

    async def submit(self, names: Sequence[str], file: Path) -> Batch:
        """Send off the requests of these names, whose lines are in a file."""
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

    async def wait(self, batch: Batch) -> str:
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
                await asyncio.sleep(max(self._poll, failure.retry_after or 0))
                continue
            if now.status in OVER:
                if now.status == "failed":
                    self._folder.finish(batch, [])
                    raise _failed(batch, now)
                files = [name for name in (now.output_file_id, now.error_file_id) if name]
                self._folder.finish(batch, [await self._download(name) for name in files])
                return str(now.status)
            await asyncio.sleep(self._poll)
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


def _failed(batch: Batch, now: Any) -> ChatFailure:
    """What a batch that was not even begun means: too much enqueued, or no batch at all."""
    errors = (now.errors.data if now.errors else None) or []
    said = "; ".join(f"{error.code}: {error.message}" for error in errors[:3])
    why = one_line(said or "no reason given")
    if any(error.code == "token_limit_exceeded" for error in errors):
        return ChatOverloaded(f"batch {batch.id}: {why}")
    return ChatUnusable(f"batch {batch.id} was turned away: {why}")
