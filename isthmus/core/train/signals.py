"""SIGTERM and Ctrl-C: the step under way is finished, a checkpoint saved, and the run leaves.

Only a flag is set here; the engine shares it between the processes at the end of a step, so
that all of them stop at the same one. A second signal leaves at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Ctrl-C reaches a process twice under torchrun, once from the terminal and once passed on.
# Only a signal that comes later than this many seconds is a second one.
ECHO = 2.0


class StopFlag:
    """Which signal asked this process to stop; None while none did."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0

    def share(self) -> list[float]:
        """One number for each signal, to be summed over the processes."""
        return [float(self.signal == number) for number in SIGNALS]

    @staticmethod
    def agreed(shared: Sequence[float]) -> int | None:
        """The signal that some process got, from the sums of `share`."""
        return next((number for number, n in zip(SIGNALS, shared, strict=True) if n), None)

    def handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
        elif now - self._since > ECHO:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Signals set the flag inside this block. Outside the main thread, where Python takes no
    handlers, whoever embeds the run keeps theirs."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before: dict[int, Any] = {number: signal.signal(number, flag.handle) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
