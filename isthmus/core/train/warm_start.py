"""Parts that begin with the weights of another run, as `start` in a run's YAML says."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from isthmus.core.checkpoint import Checkpoint, load, named_at
from isthmus.core.contracts import PartConfig
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.config import RunConfig
from isthmus.core.train.start import differences
from isthmus.errors import CheckpointError, InputError, did_you_mean


class WarmStart:
    """What a run takes from another's checkpoint, which is opened when it is first asked for:
    who resumes may need it no more. InputError is raised where it cannot be had."""

    def __init__(self, settings: RunConfig) -> None:
        self.settings = settings

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """That of the other run; None where nothing is taken."""
        if self.settings.start is None:
            return None
        with named_at("start.checkpoint"):
            return load(self.settings.start.checkpoint)

    @cached_property
    def parts(self) -> set[str]:
        """Names of the parts that are taken."""
        if self.settings.start is None or self.checkpoint is None:
            return set()
        here = [name for name, _ in self.settings.model.parts()]
        there = self.checkpoint.manifest.parts
        parts = set(self.settings.start.parts or [name for name in here if name in there])
        if not parts:
            raise InputError(
                f"start.checkpoint: {self.checkpoint.folder} has no part of this model"
            )
        for name in sorted(parts):
            for whose, known in (("the model", here), ("the checkpoint", list(there))):
                if name not in known:
                    raise InputError(
                        f"start.parts: {whose} has no part {name!r}. Parts: {', '.join(known)}."
                        f"{did_you_mean(name, known)}"
                    )
            if there[name].tuners:
                raise InputError(
                    f"start.parts: {name} in {self.checkpoint.folder} has weights added by "
                    f"{there[name].tuners[0]['type']!r}; only whole parts can be taken. Merge "
                    "them in that run's last stage, or leave the part out of `start.parts`"
                )
        return parts

    @property
    def tokenizers(self) -> dict[str, Any]:
        """Part -> tokenizer, of the parts that are taken."""
        parts = self.parts
        kept = self.checkpoint.tokenizers() if self.checkpoint else {}
        return {name: tokenizer for name, tokenizer in kept.items() if name in parts}

    def fill(self, model: VisionLanguageModel, names: Iterable[str]) -> set[str]:
        """Load the weights of those of `names` that are taken; returns the parts that have other
        weights now than they were built with."""
        if self.checkpoint is None:
            return set()
        filled = set()
        for name in sorted(self.parts & set(names)):
            try:
                filled |= {name} if self.checkpoint.fill(name, model.parts()[name]) else set()
            except CheckpointError as error:
                raise InputError(
                    f"start: {name} is another one than in {self.checkpoint.folder}. Write "
                    f"`model.{name}` as its model.yaml has it, or leave the part out of "
                    f"`start.parts`. {_apart(self.checkpoint, name, model) or error}"
                ) from error
        return filled


def _apart(checkpoint: Checkpoint, name: str, model: VisionLanguageModel) -> str:
    """The first settings in which the part is not the checkpoint's; nothing where all are alike."""
    part: Any = model.parts()[name]
    there, here = map(_said, (getattr(checkpoint.config, name), part.blueprint()))
    return "; ".join(list(differences(there, here, f"model.{name}"))[:3])


def _said(config: PartConfig) -> dict[str, Any]:
    return {"type": config.owner.name, **config.model_dump(mode="json")}
