"""One plugin: import its module, check its hooks, gather its parts."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pluggy

from isthmus.errors import did_you_mean
from isthmus.registry import hookspecs
from isthmus.registry.hookspecs import EVENT_HOOKS, PART_HOOKS, PROJECT
from isthmus.registry.table import Entry, Refused, check_part


@dataclass(frozen=True)
class Plugin:
    """A module that came in, with hooks that call it and no other plugin.

    `import_seconds` is None where torch's first import was part of it.
    """

    module: str
    distribution: str
    version: str
    builtin: bool
    hooks: pluggy.HookRelay
    import_seconds: float | None

    @property
    def origin(self) -> str:
        """`isthmus-foo 1.2 (isthmus_foo.parts)`"""
        return f"{self.distribution} {self.version} ({self.module})"


def load_plugin(
    module: str, distribution: str, version: str, builtin: bool
) -> tuple[Plugin, list[Entry]]:
    """The plugin and the parts it offers; whatever goes wrong is Refused, with the reason."""
    try:
        found, seconds = _timed_import(module)
        hooks = _verified(found, module).hook
        plugin = Plugin(module, distribution, version, builtin, hooks, seconds)
        return plugin, _collect(plugin)
    except (Exception, SystemExit) as error:
        raise Refused(_why(error, module)) from error


def _timed_import(module: str) -> tuple[ModuleType, float | None]:
    torch_before = "torch" in sys.modules
    start = time.perf_counter()
    found = importlib.import_module(module)
    seconds = time.perf_counter() - start
    return found, seconds if torch_before or "torch" not in sys.modules else None


def _verified(module: ModuleType, name: str) -> pluggy.PluginManager:
    """A manager of this plugin alone, so that pluggy's checks blame nobody else."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    known = set(vars(manager.hook))
    manager.register(module, name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError:
        unknown = sorted(set(vars(manager.hook)) - known)
        raise Refused(
            f"isthmus has no hook named {', '.join(unknown)}. Hooks: "
            f"{', '.join((*PART_HOOKS.values(), *EVENT_HOOKS))}."
            f"{did_you_mean(unknown[0], known)}"
        ) from None
    return manager


def _collect(plugin: Plugin) -> list[Entry]:
    entries: list[Entry] = []

    def take(part: Any, *, kind: str) -> None:
        check_part(part, kind)
        entries.append(
            Entry(
                kind=kind,
                name=part.name,
                part=part,
                distribution=plugin.distribution,
                version=plugin.version,
                module=plugin.module,
                builtin=plugin.builtin,
            )
        )

    for kind, hook in PART_HOOKS.items():
        call: Callable[..., Any] = getattr(plugin.hooks, hook)
        call(register=partial(take, kind=kind))
    return entries


def _why(error: BaseException, module: str) -> str:
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, pluggy.PluginValidationError):
        return "a hook is not as isthmus knows it: " + " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name:
        if f"{module}.".startswith(f"{error.name}."):
            return f"there is no module {error.name!r}"
        return f"it needs the module {error.name!r}, which is not installed"
    if isinstance(error, SyntaxError):
        return f"syntax error in {error.filename}, line {error.lineno}: {error.msg}"
    if isinstance(error, SystemExit):
        return f"it tries to exit the program (code {error.code!r})"
    return f"{type(error).__name__}: {error}"
