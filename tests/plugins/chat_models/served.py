"""`transformers serve` with a folder, on this machine, for the length of a block."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The server's address, once it answers; a skip where transformers lacks what it needs."""
    pytest.importorskip("fastapi", reason="needs transformers[serving]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = folder.with_name("serve.log")
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=offline, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 120
        while not _is_up(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


def _is_up(health: str) -> bool:
    try:
        with urllib.request.urlopen(health, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
