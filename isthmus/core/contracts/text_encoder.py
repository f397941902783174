"""A text encoder: the other tower of a contrastive model, or BLIP's shared text model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from isthmus.core.contracts.part import Part, PartConfig


class TextEncoder(Part, nn.Module, ABC):
    """Reads text, alone or grounded in an image.

    A subclass sets `dim`, the width of a hidden state, `pooled_dim`, that of a whole text's, and
    `tokenizer`, a transformers fast tokenizer whose `model_max_length` is the longest text.
    """

    kind: ClassVar[str] = "text_encoder"
    dim: int
    pooled_dim: int
    tokenizer: Any

    class Config(PartConfig):
        """Base of a text encoder's configuration."""

    @abstractmethod
    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        visual: Tensor | None = None,
        visual_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """(texts tokens) ids -> hidden (texts tokens dim).

        `mask` (texts tokens) is True where a token is real; padding is on the right. `visual`
        (texts features visual_dim), where given, is looked at by cross-attention, as far as
        `visual_mask` (texts features) is True.
        """

    @abstractmethod
    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(texts tokens) ids -> (texts pooled_dim), one vector for a whole text, as its family
        takes it (the first token of BERT, the last one of CLIP)."""
