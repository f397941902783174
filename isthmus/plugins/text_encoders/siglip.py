"""SigLIP's text tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.model.text_tower import TextTower
from isthmus.core.model.tokenizer import Texts


class SiglipText(TextTower, name="siglip"):
    """SigLIP's text transformer (Zhai et al. 2023, arXiv:2303.15343). (texts tokens) -> (texts
    tokens dim)

    Every text is filled up to the longest that there is a place for, and padding is read like
    words: that is how it was trained. A whole text is what stands at the last place.
    """

    model_types = ("siglip", "siglip_text_model")

    class Config(TextTower.Config):
        """Configuration of `siglip`."""

        model: str | None = None
        """Hub id (`google/siglip-base-patch16-224`) or local folder of published weights."""

    def __init__(
        self, config: Config, tokenizer_object: Any = None, texts: Texts | None = None
    ) -> None:
        super().__init__(config, tokenizer_object, texts)
        self.pooled_dim = int(self.model.head.out_features)

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import SiglipTextConfig, SiglipTextModel

        return SiglipTextModel, SiglipTextConfig

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self._read(ids, mask).last_hidden_state
        return hidden[:, : ids.shape[1]]

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        whole: Tensor = self._read(ids, mask).pooler_output
        return whole

    def _read(self, ids: Tensor, mask: Tensor) -> Any:
        padding = self.tokenizer.pad_token_id or 0
        longest = self.model.config.max_position_embeddings
        filled = functional.pad(
            ids.masked_fill(~mask, padding), [0, longest - ids.shape[1]], value=padding
        )
        return self.model(input_ids=filled)


@hookimpl
def register_text_encoders(register: Callable[[type], None]) -> None:
    register(SiglipText)
