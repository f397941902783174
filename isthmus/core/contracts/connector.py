"""A connector: visual features in, something the LLM can take out.

What it returns is declared by type. A plain `Connector` and a `QueryConnector` return visual
tokens, which stand in the sequence where the image was; a `CrossAttentionConnector` returns
states that inserted layers of the LLM look at, and takes no place in the sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from isthmus.core.contracts.llm import LLM
from isthmus.core.contracts.part import Part, PartConfig
from isthmus.core.contracts.transfer import send
from isthmus.core.contracts.vision import CrossAttentionStates, Features, Grids
from isthmus.errors import PartError

VISUAL_STATES = "visual_states"
"""Layer input that holds the CrossAttentionStates of a batch."""
VISUAL_SEEN = "visual_seen"
"""Layer input beside it, (batch tokens images) bool as the layer's hidden states are (batch tokens
dim): True where the image stands before the token, in the token's own sample."""


@dataclass(frozen=True)
class ConnectorText:
    """Text that a connector reads beside the image, in ids of its own tokenizer.

    `ids` (images tokens), `mask` (images tokens) True where a token is real: row i is the
    instruction that image i came with, the words of its turn (InstructBLIP).
    """

    ids: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> ConnectorText:
        return ConnectorText(send(self.ids, device), send(self.mask, device))

    @staticmethod
    def of(texts: Sequence[Sequence[int]]) -> ConnectorText:
        """These rows of ids, padded on the right; at least one."""
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text, dtype=torch.long)
            mask[row, : len(text)] = True
        return ConnectorText(ids, mask)


class AnyConnector(Part, nn.Module, ABC):
    """What all connectors share; write a subclass of one of the three below it."""

    kind: ClassVar[str] = "connector"
    stands_alone: ClassVar[bool] = False
    """Whether it may be built without `dim_out`, before there is an LLM, for objectives that run it
    by itself (BLIP-2's first stage). `join` then makes what leads to the LLM."""

    class Config(PartConfig):
        """Base of a connector's configuration."""

        def num_tokens(self, grids: Grids) -> int:
            """Places in the sequence that an image of these grids takes.

            A promise made before the connector exists or runs: layout, packing and planning
            trust it, and the conformance kit tests it.
            """
            return sum(grid.num_features for grid in grids)

    config: Config

    dim_out: int | None

    def __init__(self, config: Config, dim_in: int, dim_out: int | None) -> None:
        super().__init__()
        self.config = config
        self.dim_in = dim_in
        self.dim_out = dim_out

    def join(self, dim_out: int) -> None:
        """Make what leads to an LLM of this width, left out when there was none."""
        raise PartError(f"connector {self.name}: it is built with an llm, or not at all")


class Connector(AnyConnector, ABC):
    """Maps features to visual tokens, image by image. (tokens dim_in) -> (tokens dim_out)"""

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Visual tokens of every image, end to end; `config.num_tokens` of each."""


class QueryConnector(AnyConnector, ABC):
    """Learned queries gather the features; may read the text (Q-Former, InstructBLIP).

    `tokenizer` is None unless the connector reads text; if it does, it is given the text of
    every image, and None when there is none to read.
    """

    tokenizer: Any = None

    @abstractmethod
    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        """Visual tokens of every image, end to end; `config.num_tokens` of each."""


class CrossAttentionConnector(AnyConnector, ABC):
    """Gives the LLM states to look at through layers of its own (Flamingo).

    How many layers the LLM has, it is told by a constructor argument `llm_layers`, if it has one.
    """

    class Config(AnyConnector.Config):
        """Base of a cross-attention connector's configuration."""

        def num_tokens(self, grids: Grids) -> int:
            return 0

    @property
    def sees_all(self) -> bool:
        """Whether a token looks at all images before it, or at the last alone: FLOPs are counted
        from it."""
        return True

    @abstractmethod
    def forward(self, features: Features) -> CrossAttentionStates:
        """States of every image."""

    @abstractmethod
    def attach(self, llm: LLM) -> Sequence[RemovableHandle]:
        """Enter the LLM by pre-hooks on `llm.decoder_layers`; the blocks stay this
        connector's parameters, and with their gates at zero the LLM's output is unchanged
        bit for bit.

        Two keyword arguments reach every layer, never a context variable: `visual_states` and
        `visual_seen`. They are always there: where a batch has no images, its states are those
        of a blank one that no token sees. So a block runs alike in every batch, and what it
        adds to a token that sees no image must not depend on the states.

        Returns the hooks' handles: a model that draws a part anew takes the old ones off."""
