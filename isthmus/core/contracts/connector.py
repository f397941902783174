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

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from isthmus.core.contracts.llm import LLM
from isthmus.core.contracts.part import Part, PartConfig
from isthmus.core.contracts.vision import CrossAttentionStates, Features, Grids


@dataclass(frozen=True)
class ConnectorText:
    """Text that a connector reads beside the image, in ids of its own tokenizer.

    `ids` (images tokens), `mask` (images tokens) True where a token is real: row i is the
    instruction that image i came with (InstructBLIP).
    """

    ids: Tensor
    mask: Tensor


class AnyConnector(Part, nn.Module, ABC):
    """What all connectors share; write a subclass of one of the three below it."""

    kind: ClassVar[str] = "connector"

    class Config(PartConfig):
        """Base of a connector's configuration."""

        def num_tokens(self, grids: Grids) -> int:
            """Places in the sequence that an image of these grids takes.

            A promise made before the connector exists or runs: layout, packing and planning
            trust it, and the conformance kit tests it.
            """
            return sum(grid.num_features for grid in grids)

    config: Config

    def __init__(self, config: Config, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.config = config
        self.dim_in = dim_in
        self.dim_out = dim_out


class Connector(AnyConnector, ABC):
    """Maps features to visual tokens, image by image. (tokens dim_in) -> (tokens dim_out)"""

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Visual tokens of every image, end to end; `config.num_tokens` of each."""


class QueryConnector(AnyConnector, ABC):
    """Learned queries gather the features; may read the text (Q-Former, InstructBLIP).

    `tokenizer` is None unless the connector reads text.
    """

    tokenizer: Any = None

    @abstractmethod
    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        """Visual tokens of every image, end to end; `config.num_tokens` of each."""


class CrossAttentionConnector(AnyConnector, ABC):
    """Gives the LLM states to look at through layers of its own (Flamingo)."""

    class Config(AnyConnector.Config):
        """Base of a cross-attention connector's configuration."""

        def num_tokens(self, grids: Grids) -> int:
            return 0

    @abstractmethod
    def forward(self, features: Features) -> CrossAttentionStates:
        """States of every image."""

    @abstractmethod
    def attach(self, llm: LLM) -> Sequence[RemovableHandle]:
        """Enter the LLM by pre-hooks on `llm.decoder_layers`; the blocks stay this
        connector's parameters, and with their gates at zero the LLM's output is unchanged
        bit for bit. States arrive as layer inputs, never in a context variable.

        Returns the hooks' handles: a model that draws a part anew takes the old ones off."""
