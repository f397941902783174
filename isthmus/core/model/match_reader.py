"""What reads a text alone, reads it beside a picture, and writes it from one: what objectives on
matches run, be it BLIP-2's Q-Former, BLIP's MED or ALBEF's text encoder.

Objectives that a stage mixes run on the same matches; what two of them ask for is computed once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor, nn

from isthmus.core.contracts import ConnectorText, Features, Images, Objective, PartConfig
from isthmus.core.model.blocks import Picture, batched
from isthmus.errors import PartError

T = TypeVar("T")
PLACES = ("connector", "llm", "text_encoder")
"""Parts that may be one; the first that is, is the model's."""


class ReadsMatches(PartConfig):
    """Base of the configuration of a part that may be a `MatchReader`."""

    @property
    def reads(self) -> bool:
        """Whether it is one, configured so."""
        return True


class MatchReader(ABC):
    """A part that reads texts, with its `tokenizer`, alone and beside a picture."""

    tokenizer: Any

    @property
    @abstractmethod
    def picture_dim(self) -> int:
        """Width of what a picture is compared by."""

    @property
    @abstractmethod
    def text_dim(self) -> int:
        """Width of a text's hidden states."""

    @property
    @abstractmethod
    def words(self) -> nn.Embedding:
        """Its table of words."""

    @abstractmethod
    def look(self, features: Features) -> tuple[Tensor, Any]:
        """What a picture is compared by, (images dim) or one for each query (images queries dim),
        and what `write` is to be given of it."""

    @abstractmethod
    def read(self, text: ConnectorText) -> Tensor:
        """Text alone. -> (texts tokens dim), whose first token stands for the text."""

    @abstractmethod
    def look_and_read(self, picture: Picture, text: ConnectorText) -> tuple[Tensor, Tensor]:
        """A picture with each text. -> what says whether they belong together, (texts votes dim),
        and the text (texts tokens dim)."""

    @abstractmethod
    def write(self, picture: Picture, kept: Any, text: ConnectorText) -> Tensor:
        """Text that sees the picture and itself up to each token, `kept` being what `look` gave.
        -> (texts tokens dim)"""

    @property
    def beside(self) -> tuple[nn.Module, ...]:
        """What of it none of these passes runs."""
        return ()

    has_head: ClassVar[bool] = False
    """Whether it turns what it has written into words itself (`says`)."""

    def says(self, hidden: Tensor) -> Tensor:
        """(rows dim) of what it has written -> (rows words) logits."""
        raise PartError("what is written here is turned into words by somebody else")


class Sharing(Protocol):
    """Matches, as `isthmus.core.data.matches.Matches` has them."""

    @property
    def images(self) -> Images: ...
    @property
    def text(self) -> ConnectorText: ...
    def once(self, name: str, compute: Callable[[], T]) -> T: ...


def reader_among(parts: Mapping[str, PartConfig]) -> str | None:
    """Name of the part that reads matches on a model of these; None where there is none."""
    for name in PLACES:
        config = parts.get(name)
        if isinstance(config, ReadsMatches) and config.reads:
            return name
    return None


class MatchesConfig(Objective.Config):
    """Base of the configuration of an objective that runs a reader."""

    def runs(self, parts: Mapping[str, PartConfig]) -> frozenset[str]:
        return self.needs | {reader_among(parts) or "encoder"}

    def objections(self, parts: Mapping[str, PartConfig]) -> Iterator[str]:
        yield from needs_reader(self.owner.name, parts)


def needs_reader(name: str, parts: Mapping[str, PartConfig]) -> Iterator[str]:
    """Why objective `name` cannot run on a model of these parts, before it is built."""
    if reader_among(parts) is not None:
        return
    connector = parts.get("connector")
    if isinstance(connector, ReadsMatches):
        yield (
            f"{name!r} reads texts, and the connector has no text branch; write `text: objective` "
            "and a `tokenizer` in model.connector"
        )
    else:
        there = f", and the connector is {connector.owner.name!r}" if connector else ""
        yield (
            f"{name!r} reads texts beside pictures{there}; write `model.connector: {{type: "
            "qformer, text: objective}` (BLIP-2), `model.llm: {type: med}` (BLIP) or "
            "`model.text_encoder: {type: bert, cross: true}` (ALBEF)"
        )


def reader_of(model: Any) -> tuple[str, MatchReader]:
    """The part that reads matches, and its name. Raises PartError where the model has none."""
    for name in PLACES:
        part = getattr(model, name, None)
        if isinstance(part, MatchReader) and part.config.reads:  # type: ignore[attr-defined]
            return name, part
    raise PartError(
        "this objective needs a part that reads texts beside pictures; write `connector: {type: "
        "qformer, text: objective}`, `llm: {type: med}` or `text_encoder: {type: bert, cross: "
        "true}`"
    )


def features(model: Any, matches: Sharing) -> Features:
    """What the encoder sees, in the reader's dtype."""

    def encode() -> Features:
        seen = model.encode(matches.images)
        weights = reader_of(model)[1].words.weight
        return Features(seen.values.to(weights.dtype), seen.grids)

    return matches.once("features", encode)


def picture(model: Any, matches: Sharing) -> Picture:
    """What the reader looks at."""
    return matches.once("picture", lambda: batched(features(model, matches)))


def looked(model: Any, matches: Sharing) -> tuple[Tensor, Any]:
    """What pictures are compared by, and what is kept of them for texts to be written."""
    reader = reader_of(model)[1]
    return matches.once("looked", lambda: reader.look(features(model, matches)))


def whole(features: Features) -> Tensor:
    """One vector for a picture out of its features: the class token where there is one in front,
    else their mean. -> (images dim)"""
    values, real = batched(features)
    if features.grids[0][0].prefix:
        return values[:, 0]
    if real is None:
        return values.mean(dim=1)
    kept = real[..., None]
    return (values * kept).sum(dim=1) / kept.sum(dim=1)
