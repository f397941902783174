"""With what a checkpoint was written: versions of libraries, and the plugins installed."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from isthmus.registry import get_registry

_LIBRARIES = (
    "isthmus",
    "transformers",
    "tokenizers",
    "timm",
    "peft",
    "accelerate",
    "safetensors",
)


def isthmus_version() -> str:
    """The installed version, or `unknown` when isthmus runs from bare files."""
    return _version("isthmus")


def versions() -> dict[str, str]:
    """Name -> version of what decides the numbers."""
    named = {name: _version(name) for name in _LIBRARIES}
    # torch's own word also names its build: +cpu, +cu130.
    return {"python": platform.python_version(), "torch": str(torch.__version__), **named}


def plugins() -> dict[str, str]:
    """Distribution -> version of all that registered a part."""
    return {entry.distribution: entry.version for entry in get_registry().entries()}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
