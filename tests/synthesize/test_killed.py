"""The verb, killed with -9 again and again: the dataset is the bytes of a run that never was."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from isthmus.core.config import dump
from tests.loopback import Answer, Asked, Loopback, completion, loopback
from tests.synthesize.toys import config, many, samples

pytestmark = pytest.mark.slow

SCENES, AT_ONCE, KILLS = 300, 8, 10


def behave(asked: Asked) -> Answer:
    """A description that follows from the scene, after a moment."""
    number = re.findall(r"near number (\d+)", asked.prompt)[-1]
    text = f"This is the picture of number {number}, and nobody else is in it."
    return Answer(body=json.dumps(completion(asked, text)).encode(), seconds=0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with loopback(behave) as server:
        yield server


def prepared(folder: Path, server: Loopback) -> tuple[list[str], Path]:
    """The command of a synthesis into this folder, and where its files will be."""
    folder.mkdir()
    teacher = {"type": "openai", "model": "m", "base_url": server.url}
    made = config(folder, many(SCENES), teacher=teacher, recipes=[{"type": "detail"}],
                  ask={"concurrency": AT_ONCE})  # fmt: skip
    (folder / "killed.yaml").write_text(dump(made))
    return [sys.executable, "-m", "isthmus", "synthesize", str(folder / "killed.yaml")], made.out


def stopped(command: list[str], server: Loopback, calls: int, number: signal.Signals) -> int:
    """Start it, send it a signal when the server has seen so many more calls; how it ended."""
    wanted = len(server.ledger) + calls
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(server.ledger) < wanted:
        assert process.poll() is None, "it ended before the signal"
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(100)


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The dataset of a run that nobody disturbs."""
    command, out = prepared(tmp_path_factory.mktemp("whole") / "run", server)
    before = len(server.ledger)
    run(command)
    assert len(server.ledger) - before == len(samples(out)) == SCENES
    return (out / "samples.jsonl").read_bytes()


@pytest.mark.timeout(600)
def test_a_run_killed_at_ten_points_goes_on_to_the_same_bytes(
    server: Loopback, whole: bytes, tmp_path: Path
) -> None:
    command, out = prepared(tmp_path / "run", server)
    before, rng = len(server.ledger), random.Random(0)
    for _ in range(KILLS):
        ended = stopped(command, server, rng.randrange(1, 25), signal.SIGKILL)
        assert ended == -signal.SIGKILL
    run(command)
    assert (out / "samples.jsonl").read_bytes() == whole
    # What was under way when it was killed is asked again, and nothing else.
    assert SCENES <= len(server.ledger) - before <= SCENES + KILLS * AT_ONCE


def test_a_write_that_was_cut_off_is_dropped_with_a_message(
    server: Loopback, whole: bytes, tmp_path: Path
) -> None:
    command, out = prepared(tmp_path / "run", server)
    stopped(command, server, 100, signal.SIGKILL)
    log = out / "journal.sqlite-wal"
    log.write_bytes(log.read_bytes()[:-1000])
    said = run(command)
    assert "note:" in said
    assert "the last write was cut off" in said
    assert (out / "samples.jsonl").read_bytes() == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_calls_under_way_come_to_their_end(
    server: Loopback, whole: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    command, out = prepared(tmp_path / "run", server)
    before = len(server.ledger)
    assert stopped(command, server, 100, number) == 128 + number
    made = len(server.ledger) - before
    assert 100 <= made < SCENES
    with Journal(out / "journal.sqlite", read_only=True) as journal:
        assert journal.endings() == {"answered": made}
    run(command)
    assert len(server.ledger) - before == SCENES
    assert (out / "samples.jsonl").read_bytes() == whole
