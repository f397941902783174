"""A folder on Python's path that looks as if packages had been installed there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

CONNECTOR = '''
from isthmus import Connector, hookimpl


class Part(Connector, name="{name}"):
    """{name}, for a test."""

    def forward(self, features):
        return features.values


@hookimpl
def register_connectors(register):
    register(Part)
'''
"""A whole plugin, given the name of its connector."""


class Site:
    """Installs distributions without pip: modules, and the metadata that pip writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        distribution: str,
        source: str = "",
        *,
        version: str = "1.0",
        module: str = "",
        points: Mapping[str, str] | None = None,
        group: str = "isthmus",
    ) -> str:
        """A distribution with one module; returns the module's name."""
        module = module or distribution.replace("-", "_")
        (self.folder / f"{module}.py").write_text(source)
        lines = [f"{name} = {value}" for name, value in (points or {module: module}).items()]
        self.metadata(distribution, version, "\n".join([f"[{group}]", *lines]))
        return module

    def metadata(self, distribution: str, version: str, entry_points: str) -> None:
        """What pip leaves beside the modules."""
        folder = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        named = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (folder / "METADATA").write_text(named)
        (folder / "entry_points.txt").write_text(f"{entry_points}\n")
        importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site folder, first on the path; what is imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    for switch in ("DISABLE_PLUGIN_AUTOLOAD", "PLUGINS", "STRICT_PLUGINS", "DEBUG"):
        monkeypatch.delenv(f"ISTHMUS_{switch}", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
