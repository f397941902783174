"""The socket: where parts plug in, built-in ones and strangers' through the same door.

Stands on pluggy and the standard library; imports no torch and nothing of `core`.
"""

from isthmus.registry.entry_points import Offer, select
from isthmus.registry.hookspecs import COMMANDS, EVENT_HOOKS, PART_HOOKS, hookimpl
from isthmus.registry.loading import Plugin
from isthmus.registry.plugins import Registry, discover, find, get_registry
from isthmus.registry.table import Entry

__all__ = [
    "COMMANDS",
    "EVENT_HOOKS",
    "PART_HOOKS",
    "Entry",
    "Offer",
    "Plugin",
    "Registry",
    "discover",
    "find",
    "get_registry",
    "hookimpl",
    "select",
]
