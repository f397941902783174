"""isthmus' own plan, loader and engine, as contenders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contest import Contender, Step, Task
from benchmarks.samples import DrawnPreparer, DrawnSource, KeptPreparer
from isthmus.core.contracts import Grid, Images, ParameterGroup
from isthmus.core.data.feature_store import DiskFeatures
from isthmus.core.data.loader import StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.model.features import encode_once
from isthmus.core.train.config import OptimizerConfig
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.optimizer import build_optimizer
from isthmus.core.train.parallel import Parallel
from isthmus.plugins.objectives.lm import LanguageModelling


class Isthmus(Contender):
    """isthmus' own plan, loader and engine."""

    def __init__(self, task: Task, model: Any, parallel: Parallel, name: str = "isthmus") -> None:
        super().__init__(task)
        self.model, self.name = model, name
        root = Root(model, LanguageModelling.Config().build(), task.bf16)
        learning = {n: p for n, p in root.named_parameters() if p.requires_grad}
        optimizer = build_optimizer(
            [ParameterGroup("all", learning)], OptimizerConfig(lr=1e-30, clip=None)
        )
        preparer = self.preparer()
        self.loader = _loader(task, preparer)
        self.engine = Engine(
            root,
            optimizer,
            parallel,
            name="bench",
            clip=None,
            seed=0,
            spare=lambda: preparer.collate(preparer.examples[:1]),
        )
        root.train()

    def preparer(self) -> DrawnPreparer:
        """What makes the examples."""
        return DrawnPreparer(self.task.drawn, self.side)

    @property
    def side(self) -> int:
        """Patches along a picture's side."""
        return round(self.task.preset.visual**0.5)

    def step(self, gradient: bool = False) -> Step:
        kept: list[list[Tensor]] = []
        hook = self.engine.optimizer.register_step_pre_hook(
            lambda *_: kept.append(self.gradient(self.model)) if gradient else None
        )
        begun = self.clock()
        (result,) = [self.engine.step(data.step, data.batches, lambda: []) for data in self.loader]
        seconds = self.clock() - begun
        hook.remove()
        return Step(result.loss or 0.0, seconds, kept[0] if kept else None)


class IsthmusKept(Isthmus):
    """isthmus in a later epoch or run: what the frozen encoder sees lies in `folder`."""

    def __init__(self, task: Task, model: Any, parallel: Parallel, folder: Path) -> None:
        self.folder = folder
        super().__init__(task, model, parallel, "isthmus, features kept")

    @torch.no_grad()
    def preparer(self) -> DrawnPreparer:
        store = DiskFeatures(self.folder, "bench", max_bytes=2**34)
        encoder = self.model.encoder.eval()
        for number, each in enumerate(self.task.drawn):
            if each.pixels is not None:
                grids = ((Grid(self.side, self.side),),)
                images = Images(each.pixels, (1,), grids, keys=(str(number),))
                encode_once(encoder, images, store)
        store.flush()
        return KeptPreparer(self.task.drawn, self.side, store, encoder.transform)


def _loader(task: Task, preparer: DrawnPreparer) -> StepLoader:
    mixture = Mixture([DrawnSource(len(task.drawn))])
    lengths = [len(each.ids) for each in task.drawn]
    # More packs than there can be: one step has them all.
    plan = PackedPlan(mixture, lengths, capacity=task.pack, packs=len(lengths), epochs=1)
    return StepLoader(plan, mixture, preparer)
