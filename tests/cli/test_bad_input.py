"""What `isthmus train` says to bad input: one message, exit code 2, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.refusals import Case, only, refused, refused_in_a_shell
from tests.cli.test_bad_data import CASES as DATA
from tests.cli.test_bad_settings import CASES as SETTINGS

CASES = (*SETTINGS, *DATA)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_bad_input_gets_one_message_and_exit_2(case: Case, good_run: Path):
    refusal = refused(case, good_run)
    assert only(case.message, good_run).fullmatch(refusal.said)
    assert refusal.exit_code == 2
    assert "Traceback" not in refusal.output
    assert refusal.added == [f"run/{name}" for name in case.left]
    assert refusal.changed == []


@pytest.mark.parametrize("what", ["wrong type", "truncated JPEG"])
def test_a_shell_sees_the_same(what: str, good_run: Path):
    (case,) = (case for case in CASES if case.what == what)
    exit_code, said = refused_in_a_shell(case, good_run)
    assert only(case.message, good_run).fullmatch(said)
    assert exit_code == 2
