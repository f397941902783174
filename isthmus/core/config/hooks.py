"""Plugins that listen to a run: the registry's event hooks as one `Events`."""

from __future__ import annotations

import logging
from typing import Any

from isthmus.core.contracts import (
    CheckpointSaved,
    Evaluated,
    Events,
    StageEnded,
    StageStarted,
    StepEnded,
)
from isthmus.registry import Plugin, get_registry

logger = logging.getLogger(__name__)


class PluginEvents(Events):
    """Tells every plugin. One that fails is logged and told nothing more: it may not stop
    a training run, nor fill its log."""

    def __init__(self, plugins: tuple[Plugin, ...] | None = None) -> None:
        self.plugins = list(get_registry().plugins if plugins is None else plugins)

    def stage_started(self, event: StageStarted) -> None:
        self._tell("stage_started", event)

    def step_ended(self, event: StepEnded) -> None:
        self._tell("step_ended", event)

    def evaluated(self, event: Evaluated) -> None:
        self._tell("evaluated", event)

    def checkpoint_saved(self, event: CheckpointSaved) -> None:
        self._tell("checkpoint_saved", event)

    def stage_ended(self, event: StageEnded) -> None:
        self._tell("stage_ended", event)

    def _tell(self, hook: str, event: Any) -> None:
        for plugin in tuple(self.plugins):
            try:
                getattr(plugin.hooks, hook)(event=event)
            except Exception:
                logger.exception("%s failed in %s and is not called again", hook, plugin.origin)
                self.plugins.remove(plugin)
