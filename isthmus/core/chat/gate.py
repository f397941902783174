"""How many calls may be under way: up to the limit, and fewer while the server is overloaded.

Additive increase, multiplicative decrease (Chiu and Jain 1989): halved by an overload, and back up
by one for each round of replies. Overloads of calls that began before the limit was last halved
tell nothing new.
"""

from __future__ import annotations

import asyncio
from collections import deque

LEAST = 1.0


class Gate:
    """Lets calls through. All of it happens in one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._halved = 0

    async def enter(self) -> int:
        """Wait for a place. Returns how often the limit was halved before, which `overloaded`
        wants to know."""
        while self.inside >= int(self.limit):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()  # the place that was meant for this one
                raise
        self.inside += 1
        return self._halved

    def leave(self) -> None:
        """Give the place back."""
        self.inside -= 1
        self._wake()

    def answered(self) -> None:
        """A reply came: a little more may be asked at once."""
        self.limit = min(self.limit + 1 / self.limit, float(self.most))

    def overloaded(self, entered: int) -> None:
        """The server takes no more; `entered` is what `enter` returned for that call."""
        if entered == self._halved:
            self._halved += 1
            self.limit = max(self.limit / 2, LEAST)

    def _wake(self) -> None:
        places = int(self.limit) - self.inside
        while places > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                places -= 1
