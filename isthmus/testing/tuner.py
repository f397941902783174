"""Does a tuner keep its contract (`isthmus.core.contracts.tuner`)?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.contracts import Features, Grid, Tuner
from isthmus.errors import PartError
from isthmus.testing.promises import (
    ContractBroken,
    build,
    check_config,
    check_gradient,
    close,
    promise,
)
from isthmus.testing.tiny import tiny_connector

FEATURES = Features(torch.linspace(-1, 1, 96).reshape(4, 24), ((Grid(2, 2),),))


def check_tuner(
    config: Tuner.Config,
    part: nn.Module | None = None,
    run: Callable[[Any], Tensor] | None = None,
) -> None:
    """Tune copies of `part` and try every promise. Raises ContractBroken.

    `part` is, absent, a small connector; `run` calls it, and gives one tensor.
    """
    check_config(config)
    part = part or tiny_connector()
    run = run or (lambda tuned: tuned(FEATURES))
    plain = copy.deepcopy(part).requires_grad_(False).eval()
    tuned = copy.deepcopy(plain)
    tuner: Tuner = build(config)
    promise(
        not tuner.added(tuned),
        f"{_name(tuner)}.added: nothing was added to a part before `apply`",
    )
    _apply(tuner, tuned)
    promise(
        type(tuned) is type(part), f"{_name(tuner)}.apply: the part must keep its class, in place"
    )
    learns = _check_groups(tuner, tuned)
    _check_added(tuner, plain, tuned)
    if learns:
        _check_nothing_to_learn(tuner)
        check_gradient(tuned, lambda: run(tuned))
        _learn(tuner, tuned)
    _check_taken_up(config, plain, tuned, run)
    _check_handed_over(tuner, plain, tuned, run)


def _name(tuner: Tuner) -> str:
    return type(tuner).__qualname__


def _apply(tuner: Tuner, part: nn.Module) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tuner.apply(part)


def _learning(part: nn.Module) -> dict[int, str]:
    return {id(p): name for name, p in part.named_parameters() if p.requires_grad}


def _check_groups(tuner: Tuner, part: nn.Module) -> bool:
    """What the optimizer is given is what learns; returns whether anything does."""
    given = [id(p) for group in tuner.groups(part) for p in group.parameters.values()]
    promise(len(set(given)) == len(given), f"{_name(tuner)}.groups: a parameter is in two of them")
    learning = _learning(part)
    promise(
        set(given) == set(learning),
        f"{_name(tuner)}.groups: the optimizer gets {len(given)} parameters, but {len(learning)} "
        "require a gradient; `apply` and `groups` must agree",
    )
    return bool(given)


def _check_added(tuner: Tuner, plain: nn.Module, tuned: nn.Module) -> None:
    added, state = tuner.added(tuned), tuned.state_dict()
    promise(
        added <= state.keys(),
        f"{_name(tuner)}.added: the part's state has no {', '.join(sorted(added - state.keys()))}",
    )
    grown = sum(p.numel() for p in tuned.parameters()) - sum(p.numel() for p in plain.parameters())
    named = sum(state[name].numel() for name in added)
    promise(
        named >= grown,
        f"{_name(tuner)}.added: it names {named} of the {grown} numbers that `apply` added; a "
        "checkpoint would lose the others",
    )


def _check_nothing_to_learn(tuner: Tuner) -> None:
    try:
        tuner.apply(nn.Identity())
    except PartError:
        return
    promise(False, f"{_name(tuner)}.apply: a part without anything to train must raise PartError")


@torch.no_grad()
def _learn(tuner: Tuner, part: nn.Module) -> None:
    """As if a stage had moved everything that learns."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for group in tuner.groups(part):
            for parameter in group.parameters.values():
                parameter.add_(0.1 * torch.randn_like(parameter))


def _check_taken_up(
    config: Tuner.Config, plain: nn.Module, tuned: nn.Module, run: Callable[[Any], Tensor]
) -> None:
    """A checkpoint brings back what was learnt, and the next stage takes it up again."""
    again: Tuner = build(config)
    name, wanted, state = _name(again), run(tuned).detach(), tuned.state_dict()
    rebuilt = copy.deepcopy(plain)
    _apply(again, rebuilt)
    try:
        rebuilt.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ContractBroken(
            f"{name}: a part that it tunes does not take the weights of another: {error}"
        ) from error
    close(run(rebuilt).detach(), wanted, f"{name}: weights loaded into a part tuned alike")
    learning = set(_learning(rebuilt).values())
    rebuilt.requires_grad_(False)
    _apply(again, rebuilt)
    close(run(rebuilt).detach(), wanted, f"{name}.apply: a part that is tuned already")
    promise(
        rebuilt.state_dict().keys() == state.keys()
        and set(_learning(rebuilt).values()) == learning,
        f"{name}.apply: additions that are there already must be taken up, not added twice",
    )


def _check_handed_over(
    tuner: Tuner, plain: nn.Module, tuned: nn.Module, run: Callable[[Any], Tensor]
) -> None:
    wanted = run(tuned).detach()
    tuner.finish(tuned)
    close(run(tuned).detach(), wanted, f"{_name(tuner)}.finish: what was learnt is handed over")
    promise(
        bool(tuner.added(tuned)) or tuned.state_dict().keys() == plain.state_dict().keys(),
        f"{_name(tuner)}.finish: it says that nothing is added any more, but the part's state has "
        "other names than before",
    )
