"""YAML <-> typed configuration, for any Config class: load, override, dump, JSON Schema.

Generic: knows contracts and asks the registry, never what a run or a model is.
"""

from isthmus.core.config.document import Document, parse, read
from isthmus.core.config.hooks import PluginEvents
from isthmus.core.config.json_schema import schema
from isthmus.core.config.loading import check, create, load, typed, validate_part
from isthmus.core.config.overrides import override
from isthmus.core.config.writing import dump, to_yaml

__all__ = [
    "Document",
    "PluginEvents",
    "check",
    "create",
    "dump",
    "load",
    "override",
    "parse",
    "read",
    "schema",
    "to_yaml",
    "typed",
    "validate_part",
]
