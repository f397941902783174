"""Asking that is killed, or asked to stop: nothing is lost, and little is asked twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from tests.core.chat.asking_process import AT_ONCE, COUNT
from tests.loopback import Answer, Asked, Loopback, good, loopback

REPOSITORY = Path(__file__).resolve().parents[3]
KILLS = 10
SECONDS = 0.03


def late(asked: Asked) -> Answer:
    """A good answer, after a moment in which a kill may come."""
    answer = good(asked)
    answer.seconds = SECONDS
    return answer


class Runs:
    """Starts runs, one after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert self._line() == "ready"

    def start(self) -> int:
        """The number of a new run's process."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return int(self._line())

    def end(self) -> int:
        """How it ended."""
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def runs(server: Loopback, folder: Path) -> Iterator[Runs]:
    command = [sys.executable, "-m", "tests.core.chat.asking_process", server.url, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as process:
        yield Runs(process)
        assert process.stdin is not None
        process.stdin.close()


def until(true: Callable[[], bool]) -> None:
    """Wait for it, but not for ever."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


@pytest.mark.slow
def test_ten_kills_change_nothing_that_is_derived(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    draw = random.Random(7)
    with loopback(late) as server, runs(server, whole) as undisturbed:
        undisturbed.start()
        assert undisturbed.end() == 0
        assert len(server.ledger) == COUNT
    with loopback(late) as server, runs(server, killed) as disturbed:
        begun = 0
        for _ in range(KILLS):
            number = disturbed.start()
            wanted = begun + draw.randint(1, 80)
            until(lambda wanted=wanted: len(server.ledger) >= wanted)
            time.sleep(draw.uniform(0, SECONDS))
            os.kill(number, signal.SIGKILL)
            assert disturbed.end() == -signal.SIGKILL
            begun = len(server.ledger)
        disturbed.start()
        assert disturbed.end() == 0
        again = len(server.ledger) - COUNT
    assert (killed / "derived.jsonl").read_bytes() == (whole / "derived.jsonl").read_bytes()
    assert 0 < again <= KILLS * AT_ONCE
    with Journal(killed / "journal.sqlite", read_only=True) as journal:
        assert journal.endings() == {"answered": COUNT}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_calls_under_way_end(tmp_path: Path, number: signal.Signals) -> None:
    with loopback(late) as server, runs(server, tmp_path) as asking:
        process = asking.start()
        until(lambda: len(server.ledger) >= 3 * AT_ONCE)
        os.kill(process, number)
        assert asking.end() == 128 + number
        calls = len(server.ledger)
        assert calls < COUNT
        with Journal(tmp_path / "journal.sqlite", read_only=True) as journal:
            assert journal.endings() == {"answered": calls}
        asking.start()
        assert asking.end() == 0
        assert len(server.ledger) == COUNT
