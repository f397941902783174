"""Ctrl-C and SIGTERM while a chat model is asked: what is under way comes to its end.

The first signal is noted and passed on; a second one, later than a terminal's echo of the first,
ends the process as if there were no handler. Outside the main thread, where Python takes none,
whoever embeds this keeps theirs.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 1.0


@contextmanager
def heard(first: Callable[[int], None]) -> Iterator[None]:
    """Call `first` with the number of the first signal that comes inside this block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    since: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if not since:
            since.append(time.monotonic())
            first(number)
        elif time.monotonic() - since[0] > ECHO:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
