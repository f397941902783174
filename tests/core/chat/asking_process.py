"""Asking in processes that somebody else kills.

    python -m tests.core.chat.asking_process URL FOLDER

For every line on its standard input, it forks a process that asks everything (so that it imports
nothing), prints that one's number, waits for its end, and prints how it ended: negative for a
signal. What is derived from the journal goes to `FOLDER/derived.jsonl`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path

import aiohttp  # noqa: F401 (children are not to import what they all need)
import openai  # noqa: F401

from isthmus.core.chat import AskConfig, Journal, ask
from isthmus.core.config import create
from isthmus.core.contracts import ChatModel
from isthmus.errors import Interrupted
from tests.core.chat.talks import requests

COUNT, AT_ONCE = 600, 16


def run(url: str, folder: Path) -> int:
    """Ask all of it, and write down what came; returns the code to leave with."""
    model = create("chat_model", "openai", model="m", base_url=url)
    with Journal(folder / "journal.sqlite") as journal:
        try:
            for settled in ask(model, requests(COUNT), journal, AskConfig(concurrency=AT_ONCE)):
                assert settled.reply is not None
        except Interrupted as stopped:
            return stopped.exit_code
    derive(model, folder)
    return 0


def derive(model: ChatModel, folder: Path) -> None:
    """A row for each request, in their order, from what the journal holds."""
    rows = []
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        for settled in ask(model, requests(COUNT), journal):
            assert settled.reply is not None
            rows.append(json.dumps([settled.request.id, settled.reply.text]))
    (folder / "derived.jsonl").write_text("\n".join(rows))


def main(url: str, folder: Path) -> None:
    """A process for each line."""
    create("chat_model", "openai", model="m", base_url=url)  # imports what children need
    gc.freeze()
    print("ready", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                os._exit(run(url, folder))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
