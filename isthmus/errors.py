"""The exception tree: everything isthmus raises on purpose.

    IsthmusError
    |-- InputError              what you gave is wrong            exit code 2
    |   |-- ConfigError         the YAML, with every problem at once
    |   |-- PartError           a part that is unknown, ambiguous or misused
    |   |-- DataError           a record or a file of the data
    |   |   |-- ImageError      a picture that cannot be read
    |   |   |-- Unsupervised    a sample in which nothing is to be learnt
    |   |   `-- Rejected        a teacher's reply that no sample is made of
    |   `-- CheckpointError     a folder that is no whole checkpoint
    `-- WorkError               the work itself failed            exit code 1
        |-- NonFiniteLoss       a loss or gradient that is NaN or infinite
        |-- FreezeError         a frozen weight that changed
        |-- ChatFailure         a call of a chat model that brought no reply
        |   |-- ChatOverloaded  it takes no more calls now: later, and fewer at once
        |   |-- ChatUnreachable it, or the way to it, failed: again
        |   |-- ChatBroken      what it sent is no reply: again
        |   |-- ChatRefused     this request it will never answer: set aside
        |   `-- ChatUnusable    it will answer none (key, address, model): stop
        |-- OutOfBudget         the next call could exceed the cap on cost or tokens
        `-- Interrupted         SIGTERM or Ctrl-C, after saving   exit code 143 or 130

A message says where, what was found, what is possible and what to write instead.
The command line turns the tree into exit codes; nothing else does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class IsthmusError(Exception):
    """Root of every error raised on purpose."""

    exit_code = 1


class InputError(IsthmusError):
    """What the user gave is wrong; nothing was started or written."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where (`stages[0].train`), and what."""

    where: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}"
        return ": ".join(piece for piece in (line, self.where, self.message) if piece)


class ConfigError(InputError):
    """Every problem of one configuration, found before any weight is loaded."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        head = f"{source or 'config'}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class PartError(InputError):
    """A part that is unknown, ambiguous, or asked for what it does not offer."""


class DataError(InputError):
    """A record or a file of the data is wrong; the message names it."""


class ImageError(DataError):
    """A picture that is missing, no picture, cut short, or too large."""


class Unsupervised(DataError):
    """A sample in which nothing is to be learnt: no answer, or cut off before it."""


class Rejected(DataError):
    """A teacher's reply that no sample is made of. `reason` is the word under which it is counted
    (`unparsable`, `turn_order`); the message says what was found."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CheckpointError(InputError):
    """A folder that is not a whole, unchanged checkpoint."""


class WorkError(IsthmusError):
    """The work failed although the input was well-formed."""


class NonFiniteLoss(WorkError):
    """A loss or gradient became NaN or infinite; weights are those before the step."""


class FreezeError(WorkError):
    """A weight that a stage froze has changed."""


class ChatFailure(WorkError):
    """One call of a chat model brought no reply. Its class says what the caller does about it.

    `retry_after` are the seconds that the server asked to be left alone for. `spent` are the
    prompt's and the completion's tokens, where the call cost some and the server said how many;
    `uncounted`, it may have cost some and nobody knows how many.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        spent: tuple[int, int] | None = None,
        uncounted: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.spent = spent
        self.uncounted = uncounted


class ChatOverloaded(ChatFailure):
    """The server takes no more calls now (429): it is asked later, and less at once. This does
    not count as one of a request's tries."""


class ChatUnreachable(ChatFailure):
    """The server, or the way to it, failed: 5xx, no reply in time, a dropped connection."""


class ChatBroken(ChatFailure):
    """Something came that is no reply: half a JSON, another schema, no choices."""


class ChatRefused(ChatFailure):
    """The server will never answer this request (400, 422); others it may."""


class ChatUnusable(ChatFailure):
    """The server will answer no request (401, 403, 404): key, address or model is wrong."""


class OutOfBudget(WorkError):
    """The next call could exceed the cap on cost or tokens; what was answered is kept."""


class Interrupted(WorkError):
    """A signal asked the run to stop; it saved and left."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
