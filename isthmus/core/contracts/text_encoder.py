"""A text encoder: the other tower of a contrastive model, or BLIP's shared text model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from isthmus.core.contracts.part import Part, PartConfig


class TextEncoder(Part, nn.Module, ABC):
    """Reads text, alone or grounded in an image.

    A subclass sets `dim` and `tokenizer`, a transformers fast tokenizer.
    """

    kind: ClassVar[str] = "text_encoder"
    dim: int
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

        `visual` (texts features dim), where given, is looked at by cross-attention.
        """
