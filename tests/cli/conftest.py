"""What the tests of verbs may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.spoilt import RUN
from tests.core.train.tiny import write_data


@pytest.fixture
def good_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a run in it that is good."""
    write_data(tmp_path, 4)
    (tmp_path / "run.yaml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    return tmp_path
