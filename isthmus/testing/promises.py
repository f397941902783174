"""What every part promises, and the error that says which promise was broken."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.config.fields import resolve
from isthmus.core.contracts import PartConfig

TOLERANCE = 1e-5
"""Largest relative difference in fp32 that rounding explains."""


class ContractBroken(AssertionError):
    """A part does not keep its contract."""


def promise(kept: bool, message: str) -> None:
    if not kept:
        raise ContractBroken(message)


def close(found: Tensor, wanted: Tensor, what: str) -> None:
    """Equal up to rounding, measured over the whole tensor."""
    promise(
        found.shape == wanted.shape,
        f"{what}: shape {tuple(found.shape)} instead of {tuple(wanted.shape)}",
    )
    promise(bool(found.isfinite().all()), f"{what}: not every number is finite")
    size = float(torch.linalg.vector_norm(wanted.detach().double()))
    difference = float(torch.linalg.vector_norm((found - wanted).detach().double()))
    promise(
        difference <= TOLERANCE * size,
        f"{what}: they differ by {difference:.1e} where they are {size:.1e}; rounding in fp32 "
        f"explains a share of {TOLERANCE:.0e}",
    )


def build(config: PartConfig, seed: int = 0, **runtime: Any) -> Any:
    """The part, drawn from `seed`, without touching the caller's random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build(**runtime)


def in_worker(thing: Any) -> Any:
    """What arrives in a data worker that is sent this."""
    return ForkingPickler.loads(bytes(ForkingPickler.dumps(thing)))


def check_config(config: PartConfig) -> None:
    """A configuration goes to data workers and into YAML, and comes back the same."""
    owner = config.owner.__qualname__
    written = config.model_dump(mode="json")
    promise(
        type(config).model_validate(written, context={"resolve": resolve}) == config,
        f"{owner}.Config: written out as plain values and read again it is another one",
    )
    promise(in_worker(config) == config, f"{owner}.Config: in a data worker it is another one")


def check_gradient(part: nn.Module, run: Callable[[], Tensor]) -> None:
    """Every trainable parameter learns: ranks would wait for ever for one that does not."""
    part.train()
    output = run()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        direction = torch.randn_like(output)
    learning = {name: p for name, p in part.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(
        (output * direction).sum(), list(learning.values()), allow_unused=True
    )
    part.eval()
    without = [name for name, got in zip(learning, gradients, strict=True) if got is None]
    promise(
        not without,
        f"{type(part).__qualname__}: no gradient reaches {', '.join(without[:5])}. Leave out what "
        "the forward pass does not use, or set its `requires_grad` to False",
    )


def check_rebuilding(
    part: Any, run: Callable[[Any], Tensor], make: Callable[[PartConfig, int], Any]
) -> None:
    """The same seed draws the same weights; a checkpoint brings them back, by the blueprint
    too, which needs no hub and no folder."""
    name = type(part).__qualname__
    wanted = run(part)
    close(run(part), wanted, f"{name}: run twice in eval mode")
    if part.config.pretrained is None:
        close(run(make(part.config, 0).eval()), wanted, f"{name}: built twice from one seed")
    plan = part.blueprint()
    promise(
        isinstance(plan, type(part).Config) and plan.pretrained is None,
        f"{name}.blueprint: it must be a {name}.Config that names no hub id and no folder",
    )
    check_config(plan)
    again = make(plan, 1).eval()
    try:
        again.load_state_dict(part.state_dict(), strict=True)
    except RuntimeError as error:
        raise ContractBroken(
            f"{name}.blueprint: a part built from it does not take the weights: {error}"
        ) from error
    close(run(again), wanted, f"{name}: rebuilt by its blueprint, with its weights")
