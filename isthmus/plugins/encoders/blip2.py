"""BLIP-2's image tower: EVA-CLIP's ViT-g, and the norm that BLIP-2 learnt behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from isthmus import hookimpl
from isthmus.core.model.transform import Fit
from isthmus.core.model.vision_tower import Select, VisionTower


class Blip2(VisionTower, name="blip2"):
    """ViT-g of EVA-CLIP (arXiv:2211.07636) without its last layer, and a norm, as in BLIP-2 (Li et
    al. 2023, arXiv:2301.12597) and InstructBLIP. (crops 3 height width) -> (tokens dim)

    A stage with `encoder: {type: by_module, modules: {norm: full}}` trains the norm alone, as
    BLIP-2's do.
    """

    model_types = ("blip-2", "instructblip")
    prefix = 1
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)

    class Config(VisionTower.Config):
        """Configuration of `blip2`."""

        model: str | None = None
        """Hub id (`Salesforce/blip2-opt-2.7b`) or local folder of a BLIP-2 or an InstructBLIP; its
        tower alone is read."""
        layer: int = -1
        """Layer whose features are used, and normed: -1 the last, -2 the one before it."""
        select: Select = "cls_patch"
        """`cls_patch` for the class token as well, as BLIP-2 has it, or `patch`."""
        preprocess: Fit = "resize"
        """How a picture is brought to size: `resize` squashes it, `crop` cuts the centre of the
        filled frame, `pad` adds bars in the mean colour."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import Blip2VisionConfig, Blip2VisionModel

        return Blip2VisionModel, Blip2VisionConfig

    @staticmethod
    def split(tower: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module | None]:
        return tower.embeddings, nn.Identity(), tower.encoder, tower.post_layernorm

    published = VisionTower.inner


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Blip2)
