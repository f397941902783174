"""Checkpoints: one folder each, whole or not there, every byte accounted for.

Resolved run as YAML, one safetensors file per part, tokenizer, the trainer's state as JSON,
and a manifest of hashes written last. Nothing is pickled, and nothing pickled is read.
"""

from isthmus.core.checkpoint.background import Writer
from isthmus.core.checkpoint.folder import (
    CHECKPOINTS,
    Found,
    checkpoint_name,
    find,
    latest,
    prune,
    settle,
)
from isthmus.core.checkpoint.loading import Checkpoint, load
from isthmus.core.checkpoint.manifest import verify
from isthmus.core.checkpoint.naming import named_at
from isthmus.core.checkpoint.optimizer import flatten_optimizer, restore_optimizer
from isthmus.core.checkpoint.provenance import other_versions
from isthmus.core.checkpoint.saving import prepare, save
from isthmus.core.checkpoint.state import TrainerState
from isthmus.core.checkpoint.weights import weights_hash

__all__ = [
    "CHECKPOINTS",
    "Checkpoint",
    "Found",
    "TrainerState",
    "Writer",
    "checkpoint_name",
    "find",
    "flatten_optimizer",
    "latest",
    "load",
    "named_at",
    "other_versions",
    "prepare",
    "prune",
    "restore_optimizer",
    "save",
    "settle",
    "verify",
    "weights_hash",
]
