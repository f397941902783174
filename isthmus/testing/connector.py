"""Does a connector keep its contract (`isthmus.core.contracts.connector`)?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import (
    AnyConnector,
    ConnectorText,
    CrossAttentionConnector,
    CrossAttentionStates,
    Features,
    Grid,
    Grids,
    QueryConnector,
    runtime_arguments,
)
from isthmus.testing.connector_in_model import DIM, LAYERS, check_in_llm, check_in_model
from isthmus.testing.promises import (
    build,
    check_config,
    check_gradient,
    check_rebuilding,
    close,
    promise,
)

ALIKE: tuple[Grids, ...] = ((Grid(4, 4),), (Grid(4, 4),), (Grid(4, 4),))
"""Three images of one layout, as a plain encoder gives them."""
MIXED: tuple[Grids, ...] = (
    (Grid(2, 3, prefix=1),),
    (Grid(1, 1), Grid(4, 4)),
    (Grid(3, 2, prefix=2, frames=2),),
    (Grid(7, 5),),
)
"""One with a class token, two tiles, a video, one of odd sides."""
DTYPES = (torch.float64, torch.bfloat16)
"""What a connector may be stored in besides fp32."""


def check_connector(
    config: AnyConnector.Config,
    dim_in: int = 24,
    dim_out: int = 32,
    grids: Sequence[Grids] | None = None,
    **runtime: Any,
) -> None:
    """Build the connector and try every promise on random features laid out by `grids`, one
    for each image; absent, on images that are alike and on images of many layouts. Further
    arguments are those of its constructor. Raises ContractBroken."""
    check_config(config)
    widths = {"dim_in": dim_in, "dim_out": dim_out, **runtime}
    if "llm_layers" in runtime_arguments(config.owner):
        widths.setdefault("llm_layers", LAYERS)
    connector: AnyConnector = build(config, **widths).eval()
    layouts = (ALIKE, MIXED) if grids is None else (tuple(grids),)
    for layout in layouts:
        _check_features(connector, _features(layout, dim_in))
    features = _features(layouts[-1], dim_in)
    if isinstance(connector, CrossAttentionConnector):
        check_in_llm(build(config, **{**widths, "dim_out": DIM}).eval(), features)
    check_in_model(build(config, **{**widths, "dim_out": DIM}).eval(), features)
    _check_dtypes(config, widths, features)
    check_rebuilding(
        connector,
        lambda part: _run(part, features).detach(),
        lambda plan, seed: build(plan, seed, **widths),
    )
    learns = any(True for _ in connector.parameters())
    if learns and not isinstance(connector, CrossAttentionConnector):
        check_gradient(connector, lambda: _run(connector, features))


def _features(grids: tuple[Grids, ...], dim: int) -> Features:
    count = sum(grid.num_features for each in grids for grid in each)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Features(torch.randn(count, dim), grids)


def _run(connector: AnyConnector, features: Features) -> Tensor:
    """Visual tokens, or the real states, end to end."""
    seen: Tensor | CrossAttentionStates = connector(features)
    return seen.values[seen.mask] if isinstance(seen, CrossAttentionStates) else seen


def _check_features(connector: AnyConnector, features: Features) -> None:
    if isinstance(connector, CrossAttentionConnector):
        _check_states(connector, features)
    else:
        _check_tokens(connector, features)
    _check_alone(connector, features)
    if isinstance(connector, QueryConnector) and connector.tokenizer is not None:
        _check_reading(connector, features)


def _check_tokens(connector: AnyConnector, features: Features) -> None:
    name = type(connector).__qualname__
    promised = [connector.config.num_tokens(grids) for grids in features.grids]
    seen = _run(connector, features)
    promise(
        tuple(seen.shape) == (sum(promised), connector.dim_out),
        f"{name}: Config.num_tokens promises {promised} visual tokens, so forward must give "
        f"({sum(promised)} {connector.dim_out}), not {tuple(seen.shape)}",
    )
    promise(bool(seen.isfinite().all()), f"{name}: some visual tokens are not finite")


def _check_states(connector: CrossAttentionConnector, features: Features) -> None:
    name = type(connector).__qualname__
    promised = sum(connector.config.num_tokens(grids) for grids in features.grids)
    promise(promised == 0, f"{name}: states take no place in the sequence; num_tokens must be 0")
    states = connector(features)
    promise(
        states.mask.dtype == torch.bool
        and states.values.shape[:2] == states.mask.shape
        and len(states.mask) == len(features.grids),
        f"{name}: states are (images tokens dim) with a bool mask (images tokens), not "
        f"{tuple(states.values.shape)} with {tuple(states.mask.shape)} {states.mask.dtype}",
    )


def _check_reading(connector: QueryConnector, features: Features) -> None:
    """Each image goes with its own text, however long the others are; and all learns from it."""
    said = ("Why?", "How many boats are there in the picture?", "A dog?")
    texts = [said[number % len(said)] for number in range(len(features.grids))]
    rows = connector.tokenizer(texts)["input_ids"]
    runs = torch.split(features.values, list(features.counts))
    alone = [
        connector(Features(values, (grids,)), ConnectorText.of([row]))
        for values, grids, row in zip(runs, features.grids, rows, strict=True)
    ]
    close(
        torch.cat(alone),
        connector(features, ConnectorText.of(rows)),
        f"{type(connector).__qualname__}: what it gives for each image and its text, alone, and in "
        "one batch",
    )
    check_gradient(connector, lambda: connector(features, ConnectorText.of(rows)))


def _check_alone(connector: AnyConnector, features: Features) -> None:
    runs = torch.split(features.values, list(features.counts))
    alone = [
        _run(connector, Features(values, (grids,)))
        for values, grids in zip(runs, features.grids, strict=True)
    ]
    close(
        torch.cat(alone),
        _run(connector, features),
        f"{type(connector).__qualname__}: what it gives for each image alone, and in one batch",
    )


def _check_dtypes(config: AnyConnector.Config, widths: dict[str, Any], features: Features) -> None:
    """A part is stored in what the run says, and features come in what it is stored in."""
    for dtype in DTYPES:
        connector: AnyConnector = build(config, **widths).to(dtype).eval()
        name = type(connector).__qualname__
        try:
            seen = _run(connector, Features(features.values.to(dtype), features.grids))
        except RuntimeError as error:
            promise(False, f"{name}: stored in {dtype} it does not run: {error}")
        promise(
            seen.dtype == dtype,
            f"{name}: stored in {dtype}, with features in it, it gives {seen.dtype}",
        )
