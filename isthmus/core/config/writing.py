"""Typed configuration -> YAML, such that loading it gives the same configuration."""

from __future__ import annotations

from typing import Any

import yaml

from isthmus.core.config.reader import teach
from isthmus.core.contracts import Config, PartConfig, dump_part


def dump(config: Config) -> str:
    """YAML of every setting, defaults too; data paths are absolute, so it loads anywhere."""
    if isinstance(config, PartConfig):
        values = dump_part(config)
    else:
        values = config.model_dump(mode="json")
    return to_yaml(values)


def to_yaml(values: Any) -> str:
    """YAML of plain values that this package's reader, and any other, reads back unchanged."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes what our reader or YAML 1.1 would take for something other than a string."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML folds Unicode's own line breaks into spaces unless it has to escape them.
    style = '"' if set(text) & set("\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


teach(_Dumper)
_Dumper.add_representer(str, _string)
