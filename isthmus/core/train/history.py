"""What a run has done to the parts so far: which it changed, and what was added to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from isthmus.core.checkpoint import Checkpoint, weights_hash
from isthmus.core.contracts import Tuner
from isthmus.core.model.config import ModelConfig
from isthmus.core.train.tuning import Tuned


@dataclass
class History:
    """`changed` names parts whose own weights a stage has trained, merged into or reset.
    `hashes` are those of published weights as they were loaded: of a part that is not changed,
    a checkpoint holds a reference instead of a copy. `added` lists the tuners whose additions
    are in a part, in order."""

    changed: set[str] = field(default_factory=set)
    hashes: dict[str, str] = field(default_factory=dict)
    added: dict[str, list[Tuner.Config]] = field(default_factory=dict)

    @staticmethod
    def begin(parts: Mapping[str, nn.Module], config: ModelConfig) -> History:
        """Of a model just built. Hashes are taken before anything is cast."""
        published = [name for name, part in config.parts() if part.all_pretrained and name in parts]
        return History(hashes={name: weights_hash(parts[name]) for name in published})

    @staticmethod
    def resume(checkpoint: Checkpoint) -> History:
        """As it was when the checkpoint was saved."""
        state = checkpoint.trainer
        changed = state.extra.get("changed", ()) if state else ()
        added = {name: list(tuners) for name, tuners in checkpoint.tuners.items()}
        return History(set(changed), dict(checkpoint.unchanged), added)

    @property
    def unchanged(self) -> dict[str, str]:
        """Part -> hash of its published weights, of those that are as they were."""
        return {name: digest for name, digest in self.hashes.items() if name not in self.changed}

    def learnt(self, parts: Mapping[str, nn.Module]) -> dict[str, frozenset[str]]:
        """Part -> names of its weights that a stage has learnt, and that exist nowhere else."""
        return {
            name: frozenset(module.state_dict())
            if name in self.changed
            else frozenset[str]().union(
                *(config.build().added(module) for config in self.added.get(name, ()))
            )
            for name, module in parts.items()
        }

    def reset(self, name: str) -> None:
        """A part was drawn anew."""
        self.changed.add(name)
        self.added.pop(name, None)

    def tuned(self, item: Tuned) -> None:
        """A tuner was applied, and its stage begins."""
        if any(p.requires_grad for n, p in item.module.named_parameters() if n not in item.added):
            self.changed.add(item.part)
        if item.adds:
            self.added.setdefault(item.part, []).append(item.config)

    def finish(self, item: Tuned) -> None:
        """Let a tuner hand its part over. What it had added and is gone was merged."""
        item.tuner.finish(item.module)
        if item.added - item.tuner.added(item.module):
            self.changed.add(item.part)
            self.added[item.part].pop()
