"""Every stage, tried on the model's outline before the run begins.

A layer that LoRA does not find in the last stage is so found at once, and not after the hours
that the stages before it take.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from isthmus.core.contracts import Objective
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.config import no_place_for_words
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.tuning import NOTHING, Tuned, apply_tuners
from isthmus.errors import PartError


def rehearse(model: VisionLanguageModel, stages: Sequence[OpenStage]) -> None:
    """Raises PartError, with all that cannot be, where a tuner finds nothing to train, nothing
    learns, an objective cannot be learnt by what does, or an image leaves no place for words.

    Left to their stage's beginning are parts that the model does not have yet, and those that a
    stage draws anew or adds something to, which may or may not stay in them.
    """
    wrong: list[str] = []
    other: set[str] = set()
    least = _fewest_tokens(model)
    for stage in stages:
        other |= {*stage.config.reset}
        parts = _outline(model)
        there = [name for name in stage.config.train if name in parts and name not in other]
        tried = [(name, _try(stage, name, parts[name], wrong)) for name in there]
        tuned = {name: item for name, item in tried if item}
        other |= {name for name, item in tuned.items() if item.added}
        if why := no_place_for_words(stage.config, least):
            wrong.append(f"stages[{stage.index}].max_length: {why}")
        if len(tuned) == len(stage.config.train):
            _ask(stage, parts, any(item.groups for item in tuned.values()), wrong)
    if len(wrong) > 1:
        raise PartError("\n  ".join([f"{len(wrong)} problems with the stages", *wrong]))
    if wrong:
        raise PartError(wrong[0])


def _fewest_tokens(model: VisionLanguageModel) -> int:
    """Visual tokens of an image of which nothing but one map is looked at."""
    if model.encoder is None or model.connector is None:
        return 0
    (grids,) = model.encoder.blank().grids
    return model.connector.config.num_tokens(grids[:1])


def _outline(model: VisionLanguageModel) -> dict[str, nn.Module]:
    """The parts, frozen, with no weights in them: all of their shape, none of their memory. None
    of them where one holds what cannot be copied."""
    weights = [*model.parameters(), *model.buffers()]
    try:
        return copy.deepcopy(model.parts(), {id(each): _empty(each) for each in weights})
    except (TypeError, RuntimeError):  # a lock, a file, a tensor with a history
        return {}


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta", requires_grad=False)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def _try(stage: OpenStage, name: str, part: nn.Module, wrong: list[str]) -> Tuned | None:
    """The part, tuned; None where that cannot be, or cannot be known without weights."""
    try:
        with torch.device("meta"):
            (tuned,) = apply_tuners({name: part}, {name: stage.config.train[name]}, stage.index)
    except PartError as error:
        wrong.append(str(error))
    except (NotImplementedError, RuntimeError):
        # A tuner that looks at numbers, which the meta device has none of.
        return None
    else:
        return tuned
    return None


def _ask(stage: OpenStage, parts: dict[str, nn.Module], learns: bool, wrong: list[str]) -> None:
    """Whether the objective has something to learn by."""
    place = f"stages[{stage.index}]"
    each = stage.objective.each
    # Others make weights of their own when they join a model.
    whole = all(type(objective).join is Objective.join for objective in each)
    if not learns and whole:
        wrong.append(f"{place}.train: {NOTHING}")
    try:
        for objective in each:
            objective.admit(parts)
    except PartError as error:
        wrong.append(f"{place}.train: {error}")
