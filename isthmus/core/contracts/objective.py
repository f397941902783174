"""An objective: what a stage learns from, and how wrong the model was.

It makes its own examples and batches in data workers (`Preparer`), states which named parts
it needs, and computes its loss inside the one root module's `forward`, so that DDP and FSDP
see the whole computation. It is a module: heads and temperatures that only the objective
uses are its own parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core.contracts.connector import ConnectorText
from isthmus.core.contracts.conversation import Sample
from isthmus.core.contracts.llm import Segments
from isthmus.core.contracts.part import Part, PartConfig
from isthmus.core.contracts.template import Template
from isthmus.core.contracts.transfer import send
from isthmus.core.contracts.vision import FeatureStore, Grids, Images, ImageTransform


class Batch(Protocol):
    """One micro-batch. `weight` is what its loss sum is to be divided by, known beforehand, where
    the objective's `weights` do not say otherwise."""

    @property
    def weight(self) -> float: ...
    @property
    def samples(self) -> tuple[str, ...]:
        """Ids of its samples, for messages."""
        ...

    @property
    def num_tokens(self) -> int: ...
    @property
    def num_images(self) -> int: ...
    def to(self, device: torch.device) -> Self: ...


@dataclass(frozen=True)
class Pack:
    """Samples laid end to end: the batch of every objective that predicts next tokens.

    `ids` (tokens), any value where a visual token goes; `targets` (tokens) the id that
    follows each position in its own sample, IGNORE where nothing is supervised; `visual`
    (visual) the positions that visual tokens take, in the images' order. `stands` (images 2)
    says of each image to which sample it belongs, and how many of its tokens come before it;
    `text` is what a connector with a tokenizer reads beside the images.
    """

    IGNORE: ClassVar[int] = -100

    ids: Tensor
    targets: Tensor
    segments: Segments
    visual: Tensor
    images: Images | None
    stands: Tensor
    samples: tuple[str, ...]
    weight: float
    text: ConnectorText | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def num_images(self) -> int:
        return len(self.images) if self.images else 0

    def to(self, device: torch.device) -> Pack:
        return replace(
            self,
            ids=send(self.ids, device),
            targets=send(self.targets, device),
            visual=send(self.visual, device),
            images=self.images.to(device) if self.images else None,
            stands=send(self.stands, device),
            text=self.text.to(device) if self.text else None,
        )


@dataclass(frozen=True)
class Pairs:
    """What an encoder-decoder learns next tokens from: sources and targets, laid end to end.

    Source i has `sources.lengths[i]` of the `source_ids` (tokens), any value where a visual
    token goes; target i, `segments.lengths[i]` of the `ids` (tokens) that the decoder reads, and
    of the `targets` (tokens) that it is to say after each, IGNORE where nothing is supervised.
    `visual` (places) are positions among the `source_ids`, and `shows` (places) the visual token
    that goes there, counted through all images: a sample's images may stand in several sources,
    and are looked at once. `samples` are fewer than pairs where a sample has several answers.
    """

    source_ids: Tensor
    sources: Segments
    visual: Tensor
    shows: Tensor
    images: Images | None
    ids: Tensor
    targets: Tensor
    segments: Segments
    samples: tuple[str, ...]
    weight: float
    text: ConnectorText | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.source_ids) + len(self.ids)

    @property
    def num_images(self) -> int:
        return len(self.images) if self.images else 0

    def to(self, device: torch.device) -> Pairs:
        return replace(
            self,
            source_ids=send(self.source_ids, device),
            visual=send(self.visual, device),
            shows=send(self.shows, device),
            images=self.images.to(device) if self.images else None,
            ids=send(self.ids, device),
            targets=send(self.targets, device),
            text=self.text.to(device) if self.text else None,
        )


@dataclass(frozen=True)
class Mixed:
    """The same samples as each of several objectives batches them. Objectives that batch them alike
    share one batch, which is there several times."""

    batches: tuple[Batch, ...]

    @property
    def weight(self) -> float:
        return self.batches[0].weight

    @property
    def samples(self) -> tuple[str, ...]:
        return self.batches[0].samples

    @property
    def num_tokens(self) -> int:
        return self.batches[0].num_tokens

    @property
    def num_images(self) -> int:
        return self.batches[0].num_images

    def to(self, device: torch.device) -> Mixed:
        moved = {id(batch): batch.to(device) for batch in self.batches}
        return Mixed(tuple(moved[id(batch)] for batch in self.batches))


@dataclass(frozen=True)
class Loss:
    """`sum` over the batch, a scalar tensor, to be divided by the `weight` of all batches of
    the step over all ranks; `metrics` are sums over the same weight, of the same names in
    every batch.

    A loss of several terms has `sum`, `weight` and every metric by term, (terms): each is divided
    by its own term's weight, and the quotients are added up."""

    sum: Tensor
    weight: float | tuple[float, ...]
    metrics: dict[str, Tensor] = field(default_factory=dict)


class TokenCount(Protocol):
    """How many places an image of these grids takes: `Connector.Config.num_tokens`."""

    def __call__(self, grids: Grids) -> int: ...


@dataclass(frozen=True)
class Tools:
    """What a preparer works with. Light and picklable; parts that are absent are None."""

    tokenizer: Any = None
    text_tokenizer: Any = None
    """The text encoder's."""
    connector_tokenizer: Any = None
    """Of a connector that reads text."""
    starts: tuple[int, ...] = ()
    """Ids that the decoder's answers follow on (`Seq2SeqLLM.starts`); none, the LLM is causal."""
    ends: tuple[int, ...] = ()
    """Ids that a source ends with (`Seq2SeqLLM.ends`)."""
    template: Template | None = None
    transform: ImageTransform | None = None
    num_tokens: TokenCount | None = None
    max_length: int | None = None
    blind: bool = False
    """Every picture is replaced by a grey one of its size: the blind control."""
    store: FeatureStore | None = None
    """Of a picture whose features are kept there, no pixel is decoded."""


class Example(Protocol):
    """One sample as its preparer made it."""

    @property
    def num_tokens(self) -> int:
        """Tokens that it adds to a batch, visual tokens included."""
        ...


class Preparer(ABC):
    """Makes examples and batches, in data workers; picklable."""

    @abstractmethod
    def length(self, sample: Sample) -> int:
        """Tokens of this sample, visual tokens included, without decoding a pixel."""

    @abstractmethod
    def prepare(self, sample: Sample) -> Example:
        """Sample -> example: tokens, targets, pixels. Raises DataError; ImageError for a
        picture that cannot be read, Unsupervised when nothing is left to learn."""

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> Batch:
        """Examples -> one micro-batch, on the host."""


class Objective(Part, nn.Module, ABC):
    """What a stage trains for."""

    kind: ClassVar[str] = "objective"
    needs: ClassVar[frozenset[str]] = frozenset()
    """Names of the model's parts without which it cannot run."""
    accumulates: ClassVar[bool] = True
    """False when the loss needs the whole batch at once (contrastive losses)."""

    follows: ClassVar[frozenset[str]] = frozenset()
    """Names of objectives that stand before it where a stage mixes them: it takes up what they
    have computed of the batch."""

    class Config(PartConfig):
        """Base of an objective's configuration."""

        weight: float = Field(default=1.0, gt=0)
        """What its loss is multiplied by, beside others that the stage mixes."""

        @property
        def needs(self) -> frozenset[str]:
            """Names of the model's parts without which it cannot run."""
            return self._owner.needs

        def runs(self, parts: Mapping[str, PartConfig]) -> frozenset[str]:
            """Names of the parts that it runs, on a model of these: what it `needs`, and of several
            that would do the one that it takes."""
            return self.needs

        @property
        def accumulates(self) -> bool:
            """Whether a step may be cut into micro-batches."""
            return self._owner.accumulates

        @property
        def _owner(self) -> type[Objective]:
            owner: type[Objective] = self.owner  # type: ignore[assignment]
            return owner

        def objections(self, parts: Mapping[str, PartConfig]) -> Iterator[str]:
            """Why it cannot run on a model of these parts, all that it `needs` among them; asked
            before any is built."""
            return iter(())

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def join(self, model: Any) -> None:
        """Make the weights of its own whose sizes follow from the model's parts.

        An objective is built before there is a model; this is asked once, when there is one, and
        before anything else. Raises PartError for a model that it cannot run on.
        """

    def begin_as(self, learnt: Mapping[str, Tensor]) -> None:
        """Asked after `join` in a stage that begins behind one with an objective of the same name:
        take what that had `learnt`, its state, as far as it is of use here."""
        own = {name: tensor.shape for name, tensor in self.state_dict().items()}
        if own == {name: tensor.shape for name, tensor in learnt.items()}:
            self.load_state_dict(dict(learnt))

    def admit(self, parts: Mapping[str, nn.Module]) -> None:
        """Raise PartError where what learns in these parts is nothing that it can be learnt by.

        Asked when its stage begins, and before the run does, of parts on the meta device: by then
        there are names and shapes, and no numbers.
        """

    def after_step(self, model: Any) -> None:
        """Asked when the optimizer has moved the weights, which are as processes hold them."""

    @property
    def each(self) -> Sequence[Objective]:
        """The objectives that it is made of, in order: itself, unless it mixes several."""
        return (self,)

    @property
    def terms(self) -> int:
        """Terms of its loss, each with a weight of its own."""
        return 1

    def weights(self, batch: Any) -> tuple[float, ...]:
        """(terms) what each term's sum over the batch is to be divided by, known beforehand."""
        return (batch.weight,)

    @abstractmethod
    def preparer(self, tools: Tools) -> Preparer:
        """The maker of this objective's examples and batches."""

    @abstractmethod
    def forward(self, model: Any, batch: Any) -> Loss:
        """Run the named parts of `model` on one batch of this objective's preparer."""
