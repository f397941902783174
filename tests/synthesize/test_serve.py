"""A real server as the teacher: `transformers serve` with a tiny model of random weights.

What it says is nonsense. The verb rejects it, counts why, and crashes nowhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from isthmus.core.config import dump
from isthmus.synthesize.quality import REASONS
from tests.plugins.chat_models.local import save_tiny_chat
from tests.plugins.chat_models.served import served
from tests.synthesize.toys import config, many, reasons, samples

pytestmark = pytest.mark.slow

SCENES, TOKENS = 4, 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "model"
    model = save_tiny_chat(folder)
    model.lm_head.weight.data[model.config.eos_token_id] *= 3  # so that some replies end
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


@pytest.mark.parametrize("stream", [False, True])
def test_nonsense_of_a_real_server_is_rejected_with_counted_reasons(
    url: str, folder: Path, tmp_path: Path, stream: bool
) -> None:
    made = config(
        tmp_path,
        many(SCENES),
        teacher={"type": "openai", "model": str(folder), "base_url": url, "stream": stream},
        parameters={"temperature": 1.0, "max_tokens": TOKENS},
        ask={"concurrency": 2},
    )
    (tmp_path / "serve.yaml").write_text(dump(made))
    command = [sys.executable, "-m", "isthmus", "synthesize", str(tmp_path / "serve.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr

    found, jobs = reasons(made.out), 3 * SCENES  # of three recipes
    # A free answer to a recipe's own question may pass for one; questions with answers may not.
    assert {row["kind"] for row in samples(made.out)} <= {"detail"}
    assert len(found) + len(samples(made.out)) == jobs
    assert set(found.values()) <= REASONS.keys() - {"refused", "gave_up", "unasked"}
    report = json.loads((made.out / "report.json").read_text())
    counts = {reason: row["count"] for reason, row in report["rejected_by_reason"].items()}
    assert counts == Counter(found.values())

    with Journal(made.out / "journal.sqlite", read_only=True) as journal:
        assert journal.endings() == {"answered": jobs}
        calls = list(journal.calls())
        spent = journal.spend().completion_tokens
    assert all(str(folder) in call.model for call in calls)
    assert all((call.raw or b"").startswith(b"[" if stream else b"{") for call in calls)
    assert jobs <= spent <= jobs * TOKENS
