"""With what a checkpoint was written: versions of libraries, and the plugins installed."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from isthmus.core.checkpoint.state import TrainerState
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


def other_versions(state: TrainerState) -> list[str]:
    """`torch 2.11.0, now 2.15.0`: what a run was saved with and is not what is installed. A
    plugin that came since gave it nothing, and is not listed."""
    now = plugins() | versions()
    before = {**state.plugins, **state.versions}
    return [
        f"{name} {version}, now {now.get(name, 'not installed')}"
        for name, version in sorted(before.items())
        if now.get(name) != version
    ]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
