"""Who learns in a stage, and how: tuners applied to parts, and the table that says so.

All parts arrive frozen; a tuner unfreezes what it trains. What it says it trains and what
then requires a gradient must be the same, or the table would lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from isthmus.core.contracts import ParameterGroup, PartConfig, PartRow, Tuner
from isthmus.core.train.config import OptimizerConfig
from isthmus.errors import PartError

NOTHING = "nothing learns; write `full` or another tuner for at least one part"


@dataclass(frozen=True)
class Tuned:
    """One part, its tuner, and the parameters that learn.

    `added` are names of the part's weights that the tuner added, now (`adds`) or in an earlier
    stage whose additions it takes up.
    """

    part: str
    module: nn.Module
    config: Tuner.Config
    tuner: Tuner
    groups: tuple[ParameterGroup, ...]
    added: frozenset[str]
    adds: bool


def apply_tuners(
    parts: Mapping[str, nn.Module], tuners: Mapping[str, Tuner.Config], stage: int = 0
) -> list[Tuned]:
    """Freeze every part, then let the tuners take theirs. What they refuse is said with its place
    in the YAML, of which this is the stage's number."""
    for module in parts.values():
        module.requires_grad_(False)
    tuned = []
    for name, config in tuners.items():
        try:
            tuned.append(_apply(name, parts[name], config))
        except PartError as error:
            raise PartError(f"stages[{stage}].train.{name}: {error}") from error
    return tuned


def _apply(part: str, module: nn.Module, config: Tuner.Config) -> Tuned:
    tuner: Tuner = config.build()
    before = tuner.added(module)
    tuner.apply(module)
    added = tuner.added(module)
    groups = tuple(tuner.groups(module))
    tuned = Tuned(part, module, config, tuner, groups, added, adds=added != before)
    _check_groups(tuned)
    return tuned


def _check_groups(tuned: Tuned) -> None:
    listed = {id(p) for group in tuned.groups for p in group.parameters.values()}
    learning = {n: p for n, p in tuned.module.named_parameters() if p.requires_grad}
    unlisted = [name for name, p in learning.items() if id(p) not in listed]
    if unlisted or len(listed) != len(learning):
        raise PartError(
            f"tuner {tuned.tuner.name!r} of {tuned.part!r} gives the optimizer {len(listed)} "
            f"parameters, but {len(learning)} require a gradient"
            + (f", among them {unlisted[0]!r}" if unlisted else "")
            + "; its `apply` and `groups` must agree"
        )


def set_precision(
    parts: Mapping[str, nn.Module], bf16: bool, learnt: Mapping[str, frozenset[str]]
) -> None:
    """What learns is kept in fp32; in bf16 runs, what is frozen in bf16. In other runs all is in
    fp32, also what comes from a run that kept it in bf16.

    What an earlier stage has `learnt` is not rounded when it freezes: it exists nowhere else.
    Buffers stay as they are (rotary frequencies need fp32), and so do the weights of batch norms,
    which must be of one kind with their statistics.
    """
    for name, module in parts.items():
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        kept = {id(parameter) for norm in norms for parameter in norm.parameters(recurse=False)}
        for key, parameter in module.named_parameters():
            if not parameter.is_floating_point():
                continue
            if parameter.requires_grad or not bf16:
                parameter.data = parameter.data.float()
            elif key not in learnt[name] and id(parameter) not in kept:
                parameter.data = parameter.data.to(torch.bfloat16)


def refuse_batch_norms(tuned: Sequence[Tuned]) -> None:
    """Raise PartError for a part that learns and has batch norms, before several processes run
    it. Each would normalise by its own samples' statistics and keep its own averages of them,
    so that neither the gradient nor the saved part were those of one process. SyncBatchNorm
    repairs that on GPUs alone, and not over micro-batches."""
    for item in tuned:
        for name, module in item.module.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise PartError(
                    f"{item.part!r} learns, and has batch norms ({name or type(module).__name__}), "
                    "whose statistics would differ from process to process; train it on one "
                    "process, leave it frozen, or take a model with layer norms"
                )


def table(
    parts: Mapping[str, nn.Module],
    configs: Mapping[str, PartConfig],
    tuned: list[Tuned],
    objective: nn.Module,
    optimizer: OptimizerConfig,
) -> list[PartRow]:
    """One row a part: what it is, how it learns, how much of it, and how fast."""
    by_part = {item.part: item for item in tuned}
    rows = []
    for name, module in parts.items():
        item = by_part.get(name)
        rates = [group.lr or optimizer.lr for group in item.groups] if item else []
        config = configs[name]
        what = config.owner.name + (f" {config.pretrained}" if config.pretrained else "")
        rows.append(
            PartRow(
                part=name,
                what=what,
                tuner=item.tuner.name if item else "frozen",
                parameters=_count(module),
                trainable=_count(module, learning=True),
                lr=max(rates, default=None),
            )
        )
    if own := _count(objective):
        name = getattr(objective, "name", "")
        learning = _count(objective, learning=True)
        rows.append(PartRow("objective", name, "full", own, learning, optimizer.lr))
    return rows


def _count(module: nn.Module, learning: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not learning)
