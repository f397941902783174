"""Checkpoints written while training goes on: one at a time, on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Does the work of a save; what goes wrong there is raised by `wait`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[object] | None = None

    @property
    def over(self) -> bool:
        """Whether there is a save to hear of: it is done, or has failed."""
        return self._under_way is not None and self._under_way.done()

    def start(self, write: Callable[[], object]) -> None:
        """Begin a save, after the one before it."""
        self.wait()
        self._under_way = self._thread.submit(write)

    def wait(self) -> None:
        """Until nothing is being written. Raises what the save raised, once."""
        save, self._under_way = self._under_way, None
        if save is not None:
            save.result()

    def close(self) -> None:
        """The end of a run, however it ends: what was begun is still written."""
        self._thread.shutdown()
