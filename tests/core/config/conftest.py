"""A registry of toy parts alone, and a file to write YAML to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.core.config import fields, hooks, json_schema, loading
from isthmus.registry import Registry, discover


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Only toy parts are installed."""
    monkeypatch.setenv("ISTHMUS_DISABLE_PLUGIN_AUTOLOAD", "1")
    registry = discover(built_in=("tests.core.config.toy_parts",))
    assert registry.problems == ()
    for module in (fields, hooks, json_schema, loading):
        monkeypatch.setattr(module, "get_registry", lambda: registry)
    return registry


@pytest.fixture
def yaml_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a YAML file."""

    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write
