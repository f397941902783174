"""CLIP's text tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isthmus import hookimpl
from isthmus.core.model.text_tower import TextTower


class ClipText(TextTower, name="clip"):
    """CLIP's text transformer (Radford et al. 2021, arXiv:2103.00020), which reads left to right;
    a whole text is its last token. (texts tokens) -> (texts tokens dim)"""

    model_types = ("clip", "clip_text_model")

    class Config(TextTower.Config):
        """Configuration of `clip`."""

        model: str | None = None
        """Hub id (`openai/clip-vit-large-patch14`) or local folder of published weights."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import CLIPTextConfig, CLIPTextModel

        return CLIPTextModel, CLIPTextConfig

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        read = self.model(input_ids=ids, attention_mask=mask.long())
        hidden: Tensor = read.last_hidden_state
        return hidden

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        # transformers looks for the end of text by its id, or by the largest one.
        last = mask.sum(dim=1) - 1
        return self(ids, mask)[torch.arange(len(ids), device=ids.device), last]


@hookimpl
def register_text_encoders(register: Callable[[type], None]) -> None:
    register(ClipText)
