"""`isthmus synthesize`, in a process of its own, asks a server that fails in 30 % of calls.

What is promised is read off the server's own ledger, and off the files that the verb wrote.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.config import dump
from tests.loopback import Asked, Loopback, loopback
from tests.storm import FAULTS, LEAST, OVERLOADS, SILENT, storm
from tests.synthesize.toys import config, many, samples

pytestmark = pytest.mark.slow

COUNT, AT_ONCE, ATTEMPTS = 2000, 32, 8
ASK = {
    "concurrency": AT_ONCE,
    "timeout": 8.0,  # a busy machine may well keep a good call waiting for two
    "attempts": ATTEMPTS,
    "backoff": 0.05,
    "longest_backoff": 0.4,
}
PRICE = {"prompt": 2.5, "completion": 10.0}


def number(prompt: str) -> int:
    """Of the scene that a teacher is told of."""
    return int(re.findall(r"near number (\d+)", prompt)[-1])


def answer(scene: int) -> str:
    return f"It is near a sign, on which there is the number {scene}."


def say(prompt: str) -> str:
    return f"Question: What is it near, in picture {number(prompt)}?\nAnswer: " + answer(
        number(prompt)
    )


def verb(*words: Any) -> str:
    """What the command says."""
    command = [sys.executable, "-m", "isthmus", "synthesize", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Storm:
    """One run through it, and everything that is known of it."""

    server: Loopback
    yaml: Path
    out: Path
    calls: dict[int, list[Asked]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for asked in self.server.ledger:
            self.calls.setdefault(number(asked.prompt), []).append(asked)

    @property
    def spend(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "report.json").read_text())["spend"]
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    folder = tmp_path_factory.mktemp("storm")
    with loopback(storm(say)) as server:
        teacher = {"type": "openai", "model": "m", "base_url": server.url, "price": PRICE}
        recipes = [{"type": "conversation"}]
        made = config(folder, many(COUNT), teacher=teacher, recipes=recipes, ask=ASK)
        yaml = folder / "storm.yaml"
        yaml.write_text(dump(made))
        verb(yaml)
        yield Storm(server, yaml, made.out)


def test_every_fault_happened(run: Storm) -> None:
    kinds = Counter(asked.kind for asked in run.server.ledger)
    assert set(kinds) == {"answer", *FAULTS}
    assert 0.27 < 1 - kinds["answer"] / len(run.server.ledger) < 0.33


def test_no_sample_is_lost_and_none_is_there_twice(run: Storm) -> None:
    found = samples(run.out)
    assert [row["id"] for row in found] == [f"s{n:03}/conversation" for n in range(COUNT)]
    for scene, row in enumerate(found):
        assert row["image"] == f"{scene}.jpg"
        assert row["conversations"][1]["value"] == answer(scene)
    assert not (run.out / "rejected.jsonl").read_text()


def test_every_scene_is_asked_about_until_it_is_answered_and_not_again(run: Storm) -> None:
    assert run.calls.keys() == set(range(COUNT))
    for calls in run.calls.values():
        *before, last = (asked.kind for asked in calls)
        assert last == "answer"
        assert "answer" not in before
        assert sum(kind not in OVERLOADS for kind in (*before, last)) <= ATTEMPTS


def test_no_call_comes_before_the_server_allows_it(run: Storm) -> None:
    met = set()
    for calls in run.calls.values():
        for call, after in pairwise(calls):
            met.add(call.kind)
            # At least half of the shortest wait, where the server names none.
            assert after.at - call.ended >= LEAST.get(call.kind, 0.025)
    assert met >= LEAST.keys()


def test_no_more_calls_at_once_than_allowed(run: Storm) -> None:
    assert 4 < run.server.most_under_way <= AT_ONCE


def test_spend_is_the_servers_to_the_token(run: Storm) -> None:
    prompt = sum(asked.tokens[0] for asked in run.server.ledger)
    completion = sum(asked.tokens[1] for asked in run.server.ledger)
    assert (run.spend["prompt_tokens"], run.spend["completion_tokens"]) == (prompt, completion)
    assert run.spend["calls"] == len(run.server.ledger)
    assert run.spend["cost"] == pytest.approx((2.5 * prompt + 10 * completion) / 1e6, abs=1e-6)
    assert run.spend["unmetered_calls"] == sum(a.kind in SILENT for a in run.server.ledger)
    assert f"{prompt + completion:,}" in verb("status", run.out)


def test_samples_know_the_tokens_of_the_call_that_answered(run: Storm) -> None:
    for scene, row in enumerate(samples(run.out)):
        made = row["provenance"]
        assert (made["prompt_tokens"], made["completion_tokens"]) == run.calls[scene][-1].tokens
        assert made["returned"] == "loopback-1"


def test_the_same_command_asks_nothing_more_and_makes_the_same_bytes(run: Storm) -> None:
    before, asked = (run.out / "samples.jsonl").read_bytes(), len(run.server.ledger)
    verb(run.yaml)
    assert (run.out / "samples.jsonl").read_bytes() == before
    assert len(run.server.ledger) == asked
    assert f"{COUNT:,} samples" in verb("verify", run.out)
