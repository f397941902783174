"""Plugins hear a run; one that fails is dropped and stops nothing."""

from __future__ import annotations

import logging
import sys
import types

import pytest

from isthmus import hookimpl
from isthmus.core.config import PluginEvents
from isthmus.core.contracts import StageEnded
from isthmus.registry import Registry


def listener(name: str, heard: list[str], *, fails: bool = False) -> types.ModuleType:
    module = types.ModuleType(name)

    @hookimpl
    def stage_ended(event: StageEnded) -> None:
        heard.append(f"{name} {event.stage}")
        if fails:
            raise RuntimeError("out of paper")

    module.stage_ended = stage_ended  # type: ignore[attr-defined]
    return module


def test_every_plugin_hears_and_a_failing_one_only_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    registry = Registry()
    for name in ("toy_printer", "toy_plotter"):
        module = listener(name, heard, fails=name == "toy_printer")
        monkeypatch.setitem(sys.modules, name, module)
        registry.load(name, name, "1.0")
    events = PluginEvents(registry.plugins)
    with caplog.at_level(logging.ERROR):
        events.stage_ended(StageEnded("one", 3, 1.0))
        events.stage_ended(StageEnded("two", 6, 1.0))
    assert heard == ["toy_printer one", "toy_plotter one", "toy_plotter two"]
    (record,) = caplog.records
    assert record.getMessage().startswith("stage_ended failed in toy_printer 1.0")
    assert record.exc_info
