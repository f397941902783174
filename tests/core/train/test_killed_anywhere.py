"""`kill -9` anywhere in a run, twenty times: losses, weights and samples used stay the same."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from isthmus.core.train.lines import read_lines
from tests.core.train.killed_anywhere import EPOCHS, KILLS, PLACES, SAMPLES
from tests.core.train.listeners import metrics

pytestmark = pytest.mark.slow  # some thirty small runs

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another seed every time; ISTHMUS_KILL_SEED repeats one."""
    seed = os.environ.get("ISTHMUS_KILL_SEED") or str(secrets.randbelow(10**6))
    print(f"ISTHMUS_KILL_SEED={seed}")
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.core.train.killed_anywhere", str(folder), seed]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    print(f"lives ended at {(folder / 'kills.json').read_text()}")
    return folder


def ended(runs: Path) -> list[Path]:
    """Folders of the runs that were killed."""
    return [runs / str(number) for number in range(len(kills(runs)))]


def kills(runs: Path) -> list[list[tuple[str, int]]]:
    return json.loads((runs / "kills.json").read_text())


def files(out: Path) -> dict[str, bytes]:
    """Every file of the checkpoints; the run's folder is named in two of each."""
    return {
        str(file.relative_to(out)): file.read_bytes()
        for file in sorted((out / "checkpoints").rglob("*"))
        if file.is_file() and file.name not in ("run.yaml", "manifest.json")
    }


def test_places_of_the_kills_are_those_of_a_run(runs: Path) -> None:
    met = json.loads((runs / "whole.met").read_text())
    assert {name: met[name] for name in PLACES} == {n: often for n, (*_, often) in PLACES.items()}
    places = Counter(place for lives in kills(runs) for place, _ in lives)
    assert sum(places.values()) == KILLS
    assert set(places) == {*PLACES, "save"}


def test_killed_runs_end_with_the_bytes_of_the_whole_one(runs: Path) -> None:
    whole = files(runs / "whole")
    assert whole
    for out in ended(runs):
        assert files(out) == whole, out


def test_killed_runs_have_the_losses_of_the_whole_one(runs: Path) -> None:
    whole = metrics(runs / "whole")
    assert sum("loss" in line for line in whole) == 12
    for out in ended(runs):
        assert metrics(out) == whole, out


def test_every_sample_is_used_once_an_epoch_whatever_was_killed(runs: Path) -> None:
    whole = read_lines(runs / "whole" / "samples.jsonl")
    for name in "ab":
        steps = [line["samples"] for line in whole if line["stage"] == name]
        for epoch in range(EPOCHS):
            used = Counter(steps[2 * epoch] + steps[2 * epoch + 1])
            assert len(used) == SAMPLES
            assert set(used.values()) == {1}
    for out in ended(runs):
        assert read_lines(out / "samples.jsonl") == whole, out
