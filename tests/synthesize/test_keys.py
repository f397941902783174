"""A key is seen by its endpoint alone, however often that repeats it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.core.config import dump
from tests.loopback import Answer, Asked, completion, error, loopback
from tests.synthesize.toys import config, many, reasons, samples

KEY = "sk-proj-5ecret-0123456789"


@pytest.mark.parametrize("last", [200, 401])
def test_no_file_and_no_message_of_the_verb_has_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)

    def echo(asked: Asked) -> Answer:
        said = f"The dog says {asked.headers['authorization'].split()[-1]}."
        if "number 1," in asked.prompt:
            return error(400, said)
        if "number 2," in asked.prompt and last == 401:
            return error(401, said)
        return Answer(body=json.dumps(completion(asked, said)).encode())

    with loopback(echo) as server:
        teacher: Any = {"type": "openai", "model": "m", "base_url": server.url,
                        "api_key_env": "TEACHER_KEY"}  # fmt: skip
        quality = {"grounding": "off"}
        made = config(tmp_path, many(3), teacher=teacher, recipes=[{"type": "detail"}],
                      quality=quality, ask={"concurrency": 1})  # fmt: skip
        (tmp_path / "keys.yaml").write_text(dump(made))
        result = CliRunner().invoke(app, ["synthesize", str(tmp_path / "keys.yaml")])
        assert {asked.headers["authorization"] for asked in server.ledger} == {f"Bearer {KEY}"}
    assert KEY not in result.output
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()
    if last == 401:
        assert result.exit_code != 0
        assert "The dog says [key]." in result.output
        return
    assert result.exit_code == 0, result.output
    found = [row["conversations"][1]["value"] for row in samples(made.out)]
    assert found == ["The dog says [key]."] * len(found)
    assert reasons(made.out)["s001/detail"] == "refused"
