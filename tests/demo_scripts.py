"""The demo's scripts, imported as one that lies beside them sees them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

DEMO = Path(__file__).resolve().parent.parent / "examples" / "demo"


@contextmanager
def imported(*names: str) -> Iterator[SimpleNamespace]:
    """These modules of `examples/demo`, by name. Afterwards they are forgotten, with all that they
    brought along from there: their names are short enough for others to have them, too."""
    held = set(sys.modules)
    try:
        sys.path.insert(0, str(DEMO))
        try:
            modules = {name: import_module(name) for name in names}
        finally:
            sys.path.remove(str(DEMO))
        yield SimpleNamespace(**modules)
    finally:
        for file in DEMO.glob("*.py"):
            if file.stem not in held:
                sys.modules.pop(file.stem, None)
