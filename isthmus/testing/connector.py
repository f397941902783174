"""Does a connector keep its contract (`isthmus.core.contracts.connector`)?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    AnyConnector,
    ConnectorText,
    CrossAttentionConnector,
    CrossAttentionStates,
    Features,
    Grid,
    Grids,
    QueryConnector,
    Segments,
)
from isthmus.testing.promises import (
    build,
    check_config,
    check_gradient,
    check_rebuilding,
    close,
    promise,
)
from isthmus.testing.tiny import tiny_llm_config, tiny_texts

GRIDS: tuple[Grids, ...] = ((Grid(4, 4),), (Grid(4, 4),), (Grid(4, 4),))


def check_connector(
    config: AnyConnector.Config,
    dim_in: int = 24,
    dim_out: int = 32,
    grids: Sequence[Grids] = GRIDS,
    **runtime: Any,
) -> None:
    """Build the connector and try every promise on random features laid out by `grids`, one
    for each image. Raises ContractBroken."""
    check_config(config)
    widths = {"dim_in": dim_in, "dim_out": dim_out, **runtime}
    connector: AnyConnector = build(config, **widths).eval()
    features = _features(tuple(grids), dim_in)
    if isinstance(connector, CrossAttentionConnector):
        _check_states(connector, features)
        _check_in_llm(build(config, **{**widths, "dim_out": 32}).eval(), features)
    else:
        _check_tokens(connector, features)
    _check_alone(connector, features)
    if isinstance(connector, QueryConnector) and connector.tokenizer is not None:
        _check_reading(connector, features)
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


def _check_in_llm(connector: CrossAttentionConnector, features: Features) -> None:
    """Freshly attached, its gates at zero, it changes nothing, not one bit. With gates open, a
    token sees the images that stand before it in its own sample, and no other."""
    llm = build(tiny_llm_config(), texts=tiny_texts).eval()
    text, both, alone = llm.embed(torch.arange(3, 13)), Segments((6, 4)), Segments((4,))
    runs = torch.split(features.values, list(features.counts))
    first, second = features.grids[0], features.grids[-1]
    pair = Features(torch.cat([runs[0], runs[-1]]), (first, second))
    other = Features(torch.cat([-runs[0], runs[-1]]), (first, second))
    last = Features(runs[-1], (second,))

    def read(seen: Features) -> Tensor:
        """Two samples: in the first an image behind two tokens, in the second behind one."""
        hidden: Tensor = llm(text, both, _layer_inputs(connector(seen), both, [(0, 2), (1, 1)]))
        return hidden

    name = f"{type(connector).__qualname__}.attach"
    before = llm(text, both)
    handles = connector.attach(llm)
    promise(len(handles) > 0, f"{name}: it must return the handles of its hooks")
    promise(
        torch.equal(before, read(pair)),
        f"{name}: with its gates at zero the LLM's output must be the same to the last bit",
    )
    _open_gates(connector)
    packed, changed = read(pair), read(other)
    single = llm(text[6:], alone, _layer_inputs(connector(last), alone, [(0, 1)]))
    close(packed[6:], single, f"{name}: a sample in a pack, and alone")
    close(packed[:2], changed[:2], f"{name}: tokens before an image, whatever the image shows")
    promise(
        not torch.equal(packed[2:6], changed[2:6]),
        f"{name}: tokens behind an image must follow from it",
    )
    check_gradient(connector, lambda: read(pair))


@torch.no_grad()
def _open_gates(connector: CrossAttentionConnector) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in connector.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def _layer_inputs(
    states: CrossAttentionStates, segments: Segments, stands: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    from isthmus.core.model.layout import sees

    seen = sees(segments, torch.tensor(stands, dtype=torch.long), len(states.mask))
    return {VISUAL_STATES: states, VISUAL_SEEN: seen}


def _check_reading(connector: QueryConnector, features: Features) -> None:
    """Each image goes with its own text, however long the others are."""
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
