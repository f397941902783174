"""Where a run takes weights from before its first stage, typed."""

from __future__ import annotations

from pydantic import Field

from isthmus.core.contracts import Config, DataPath


class StartConfig(Config):
    """Weights of another run, or of one of its checkpoints, to begin with. With the LLM comes the
    tokenizer that it learnt with there."""

    checkpoint: DataPath
    """Folder of a run, whose newest whole checkpoint is meant, or of one checkpoint."""
    parts: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which parts; absent, all that the model here has, too."""
