"""A model's Q-Former on matches of a picture and a text: what BLIP-2's objectives share.

Objectives that a stage mixes run on the same matches; what two of them ask for is computed once.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from isthmus.core.contracts import (
    ConnectorText,
    Features,
    Images,
    PartConfig,
    QueryConnector,
)
from isthmus.core.model.blocks import batched
from isthmus.core.model.qformer import Kept, Picture, QFormer
from isthmus.errors import PartError

T = TypeVar("T")


class QFormerConnector(QueryConnector, ABC):
    """A connector that is a Q-Former: objectives run its parts one by one."""

    class Config(QueryConnector.Config):
        """Base of such a connector's configuration."""

        @property
        def reads(self) -> bool:
            """Whether it has a text branch."""
            return False

    qformer: QFormer


class Sharing(Protocol):
    """Matches, as `isthmus.core.data.matches.Matches` has them."""

    @property
    def images(self) -> Images: ...
    @property
    def text(self) -> ConnectorText: ...
    def once(self, name: str, compute: Callable[[], T]) -> T: ...


def needs_text_branch(name: str, parts: Mapping[str, PartConfig]) -> Iterator[str]:
    """Why objective `name` cannot run on a model of these parts, before it is built."""
    config = parts["connector"]
    if not isinstance(config, QFormerConnector.Config):
        yield (
            f"{name!r} runs a Q-Former by itself, and the connector is {config.owner.name!r}; "
            "write `model.connector: {type: qformer, text: objective}`"
        )
    elif not config.reads:
        yield (
            f"{name!r} reads texts, and the connector has no text branch; write `text: objective` "
            "and a `tokenizer` in model.connector"
        )


def former_of(model: Any) -> QFormer:
    """The model's Q-Former. Raises PartError where it has none that reads."""
    connector = model.connector
    if not isinstance(connector, QFormerConnector) or connector.qformer.words is None:
        raise PartError(
            "this objective needs a Q-Former with a text branch; write `connector: {type: qformer, "
            "text: objective}`"
        )
    return connector.qformer


def picture(model: Any, matches: Sharing) -> Picture:
    """What the Q-Former looks at."""

    def look() -> Picture:
        features = model.encode(matches.images)
        weights = former_of(model).queries
        return batched(Features(features.values.to(weights.dtype), features.grids))

    return matches.once("picture", look)


def looked(model: Any, matches: Sharing) -> tuple[Tensor, Kept]:
    """Queries that looked alone, (matches queries dim), and what they leave for text behind."""

    def look() -> tuple[Tensor, Kept]:
        kept = Kept()
        return former_of(model).look(picture(model, matches), kept), kept

    seen, kept = matches.once("looked", look)
    return seen, Kept(list(kept.blocks), kept.real, kept.tokens)


def idle(model: Any) -> Tensor:
    """Zero, by way of what leads from the queries to an LLM, where there is one: it learns nothing
    here, and other processes would wait for its gradient."""
    connector = model.connector
    inside = {id(p) for p in connector.qformer.parameters()}
    outside = [p for p in connector.parameters() if id(p) not in inside and p.requires_grad]
    total = torch.zeros((), device=connector.qformer.queries.device)
    for parameter in outside:
        total = total + 0.0 * parameter.sum()
    return total
