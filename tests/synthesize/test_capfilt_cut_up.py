"""CapFilt leaves the same bytes however the work was cut up, and does none of it twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.config import dump
from isthmus.synthesize.capfilt import CapFiltConfig, capfilt
from isthmus.synthesize.capfilt.run import silent
from isthmus.synthesize.capfilt.work import Models
from isthmus.synthesize.plan import Shard
from tests.synthesize.capfilt_toys import config
from tests.synthesize.toys import samples

FILES = ("samples.jsonl", "rejected.jsonl", "report.json")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_neither_captions_nor_scores_follow_from_the_batch(
    at_once: CapFiltConfig, models: Path, tmp_path: Path
):
    alone = config(tmp_path, models, batch_size=1)
    capfilt(alone)
    for mine, theirs in zip(samples(alone.out), samples(at_once.out), strict=True):
        assert mine["conversations"] == theirs["conversations"]
        assert mine["provenance"]["score"] == pytest.approx(theirs["provenance"]["score"], abs=2e-4)


def test_greedy_captions_are_the_same_for_every_seed(models: Path, tmp_path: Path):
    found = []
    for seed in (0, 1):
        captioner = {"model": str(models / "captioner"), "temperature": 0, "max_new_tokens": 24}
        made = config(tmp_path, models, captioner=captioner, seed=seed, out=str(tmp_path / "o"))
        capfilt(made)
        found.append(contents(made.out))
    assert found[0] == found[1]
    assert b'"seed"' not in found[0]["samples.jsonl"]


def test_what_broke_off_goes_on_to_the_same_bytes(
    at_once: CapFiltConfig, models: Path, tmp_path: Path
):
    made = config(tmp_path, models)

    class Killed(BaseException):
        pass

    class Bar:
        def __init__(self, total: int) -> None:
            seen.append(total)

        def __enter__(self) -> Any:
            return self.advance

        def __exit__(self, *raised: object) -> None:
            pass

        def advance(self, count: int, at: str) -> None:
            raise Killed

    seen: list[int] = []
    for _ in range(2):
        with pytest.raises(Killed):
            capfilt(made, bar=Bar)
    assert not (made.out / "samples.jsonl").exists()
    capfilt(made)
    assert seen == [11, 7]
    assert contents(made.out) == contents(at_once.out)


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bytes(
    at_once: CapFiltConfig, models: Path, tmp_path: Path
):
    made = config(tmp_path, models)
    file = tmp_path / "c.yaml"
    file.write_text(dump(made))
    command = [sys.executable, "-m", "isthmus", "synthesize", "capfilt", str(file)]
    journal = made.out / "journal.sqlite-wal"
    for _ in range(2):
        size = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > size):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(made.out) == contents(at_once.out)


def test_shards_taken_together_are_the_whole(at_once: CapFiltConfig, models: Path, tmp_path: Path):
    made = config(tmp_path, models)
    for number in (3, 1):
        capfilt(made, shard=Shard(number, 3))
    assert not (made.out / "samples.jsonl").exists()
    done: list[int] = []

    def bar(total: int) -> Any:
        done.append(total)
        return silent(total)

    capfilt(made, bar=bar)
    assert done == [4], "the second part alone was still to do"
    assert contents(made.out) == contents(at_once.out)


def test_another_threshold_costs_nothing(
    at_once: CapFiltConfig, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Models, "load", lambda *given: pytest.fail("weights were read"))
    everything = at_once.filter.model_copy(update={"threshold": 0.0})
    found = capfilt(at_once.model_copy(update={"filter": everything}))
    assert not found.summary["rejected"]["web"]
    capfilt(at_once)
