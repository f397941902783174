"""Finding plugins: the built-in modules, then entry points, each loaded by itself.

One broken plugin is a problem with a name on it, never the end of the program. Nothing is
imported before the first question, and a plugin registers all of its parts or none.

Switches, for strangers' plugins (built-in parts always load):
    ISTHMUS_DISABLE_PLUGIN_AUTOLOAD=1   load none
    ISTHMUS_PLUGINS=a,b                 load only these distributions or entry points
    ISTHMUS_STRICT_PLUGINS=1            any problem is fatal
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from typing import Any

from isthmus.errors import PartError, Problem
from isthmus.registry.entry_points import (
    Offer,
    own_version,
    select,
    switched_on,
    unknown_wishes,
)
from isthmus.registry.hookspecs import COMMANDS, PART_HOOKS, PROJECT
from isthmus.registry.loading import Plugin, load_plugin
from isthmus.registry.table import Entry, Refused, Table

BUILT_IN = tuple(
    f"isthmus.plugins.{module}"
    for module in (
        "encoders.clip",
        "encoders.siglip",
        "encoders.blip",
        "encoders.dinov2",
        "encoders.blip2",
        "encoders.timm",
        "encoders.tiles",
        "encoders.concat",
        "encoders.vit",
        "connectors.linear",
        "connectors.mlp",
        "connectors.identity",
        "connectors.pixel_shuffle",
        "connectors.pool",
        "connectors.c_abstractor",
        "connectors.cross_attention",
        "connectors.resampler",
        "connectors.qformer",
        "connectors.gated_cross_attention",
        "llms.causal",
        "llms.seq2seq",
        "llms.med",
        "text_encoders.clip",
        "text_encoders.siglip",
        "text_encoders.bert",
        "templates.plain",
        "templates.vicuna_v1",
        "templates.bare",
        "templates.llama2",
        "templates.chatml",
        "templates.tokenizer",
        "sources.llava",
        "sources.messages",
        "sources.video",
        "objectives.lm",
        "objectives.prefix_lm",
        "objectives.clip",
        "objectives.siglip",
        "objectives.itc",
        "objectives.itm",
        "objectives.itg",
        "objectives.mlm",
        "objectives.mix",
        "objectives.dpo",
        "tuners.frozen",
        "tuners.full",
        "tuners.lora",
        "tuners.last_layers",
        "tuners.norms",
        "tuners.by_module",
        "benchmarks.scienceqa",
        "benchmarks.llava_bench",
        "benchmarks.pope",
        "benchmarks.chair",
        "benchmarks.mm_vet",
        "benchmarks.vqa",
        "benchmarks.caption",
        "benchmarks.retrieval",
        "benchmarks.exact_match",
        "benchmarks.generic",
        "benchmarks.video_qa",
        "chat_models.openai",
        "chat_models.replay",
        "chat_models.transformers",
        "chat_models.isthmus",
        "chat_models.symbolic",
        "recipes.conversation",
        "recipes.detail",
        "recipes.reasoning",
        "recipes.caption_pairs",
    )
)
"""Modules of the built-in parts; they come in through the same door as a stranger's."""

SLOW_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Registry:
    """What is installed: plugins, their parts, and what is wrong with those that failed.

    Modules of built-in parts lie in a folder for each kind, and come in when somebody asks for
    their kind: who asks a chat model waits for no library of vision encoders.
    """

    def __init__(self, built_in: Iterable[str] = ()) -> None:
        self._table = Table()
        self._plugins: dict[str, Plugin] = {}
        self._problems: list[Problem] = []
        self._notes: list[Problem] = []
        self._awaited = {module: _kind_of(module) for module in built_in}
        """Built-in modules that are not loaded yet, and their kind."""

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Plugins that came in, built-ins first."""
        self._admit()
        return tuple(sorted(self._plugins.values(), key=lambda plugin: not plugin.builtin))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why plugins, or parts of them, cannot be used."""
        self._admit()
        return tuple(self._problems)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What works but should be better: slow imports."""
        self._admit()
        return tuple(self._notes)

    def entries(self) -> tuple[Entry, ...]:
        """Every part, by kind and name."""
        self._admit()
        return self._table.entries()

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of this kind's parts, sorted."""
        self._admit(kind)
        return self._table.names(kind)

    def find(self, kind: str, name: str) -> Entry:
        """The part of this kind and name, and where it comes from.

        Raises PartError when there is none, or when two distributions offer it.
        """
        self._admit(kind)
        try:
            return self._table.find(kind, name)
        except PartError as error:
            if not self._problems:
                raise
            raise PartError(f"{error} Some plugins have problems; see `isthmus plugins`.") from None

    def resolve(self, kind: str, name: str) -> Any:
        """The class of this kind and name; raises PartError as `find` does."""
        return self.find(kind, name).part

    def load(self, module: str, distribution: str, version: str, *, builtin: bool = False) -> None:
        """Import a plugin and take its parts in: all of them, or none and a problem."""
        where = f"{distribution} {version} ({module})"
        self._admit(self._awaited.get(module, ""))
        if module in self._plugins:
            first = self._plugins[module]
            self._problems.append(Problem(where, f"already loaded for {first.origin}"))
            return
        try:
            plugin, entries = load_plugin(module, distribution, version, builtin)
            for kind in {entry.kind for entry in entries}:
                self._admit(kind)
            self._table.check(entries)
        except Refused as refusal:
            self._problems.append(Problem(where, str(refusal)))
            return
        self._plugins[module] = plugin
        if plugin.import_seconds is not None and plugin.import_seconds > SLOW_SECONDS:
            took = f"importing it took {plugin.import_seconds:.1f} s"
            self._notes.append(Problem(where, f"{took}; let functions import what is heavy"))
        for entry in entries:
            for other in self._table.add(entry):
                self._problems.append(
                    Problem(where, f"{entry.kind} {entry.name!r} is also in {other.origin}")
                )

    def load_offer(self, offer: Offer) -> None:
        """Load a stranger's plugin, whose entry point must name a module."""
        if offer.value.replace(".", "_").isidentifier():
            self.load(offer.value, offer.distribution, offer.version)
        else:
            message = f"its value must be a module, `package.module`; found {offer.value!r}"
            self._problems.append(Problem(offer.origin, message))

    def _admit(self, kind: str | None = None) -> None:
        """Load the built-in modules of a kind, or all of them."""
        for module in [m for m, its in self._awaited.items() if kind is None or its == kind]:
            if self._awaited.pop(module, None) is not None:
                self.load(module, PROJECT, own_version(), builtin=True)

    def report(self, problems: Iterable[Problem]) -> None:
        """Add problems found outside of any plugin."""
        self._problems.extend(problems)


def find(kind: str, name: str) -> Entry:
    """The part of this kind and name, with as little imported as may be.

    A built-in part cannot be shadowed. So where one has the name, other kinds and strangers'
    plugins are left alone; else they are asked, and PartError says what is known.
    """
    own = Registry()
    for module in BUILT_IN:
        if module.split(".")[2] == f"{kind}s":
            own.load(module, PROJECT, own_version(), builtin=True)
    found = [entry for entry in own.entries() if (entry.kind, entry.name) == (kind, name)]
    return found[0] if found else get_registry().find(kind, name)


def discover(built_in: Iterable[str] = BUILT_IN) -> Registry:
    """Load everything that is installed and switched on.

    With ISTHMUS_STRICT_PLUGINS, raises PartError naming every problem.
    """
    registry = Registry(built_in)
    offers, problems = select(PROJECT)
    registry.report((*problems, *unknown_wishes(PROJECT, COMMANDS)))
    for offer in offers:
        registry.load_offer(offer)
    if switched_on("ISTHMUS_STRICT_PLUGINS") and registry.problems:
        lines = "\n".join(f"  {problem}" for problem in registry.problems)
        raise PartError(f"ISTHMUS_STRICT_PLUGINS is set, and plugins have problems:\n{lines}")
    return registry


@cache
def get_registry() -> Registry:
    """The registry of this process, made at the first call; problems are logged, once."""
    registry = discover()
    for problem in (*registry._problems, *registry._notes):  # those of strangers
        logger.warning("plugin %s", problem)
    return registry


def _kind_of(module: str) -> str:
    """`isthmus.plugins.connectors.mlp` -> `connector`: its folder is named as the kind's hook."""
    folder = module.split(".")[-2]
    return next((kind for kind, hook in PART_HOOKS.items() if hook == f"register_{folder}"), "")
