"""BLIP's image tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from isthmus import hookimpl
from isthmus.core.model.transform import Fit
from isthmus.core.model.vision_tower import Select, VisionTower


class Blip(VisionTower, name="blip"):
    """BLIP ViT (Li et al. 2022, arXiv:2201.12086), with the norm that stands behind its last layer.
    (crops 3 height width) -> (tokens dim)"""

    model_types = ("blip", "blip_vision_model")
    prefix = 1
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)

    class Config(VisionTower.Config):
        """Configuration of `blip`."""

        model: str | None = None
        """Hub id (`Salesforce/blip-image-captioning-base`) or local folder of published weights."""
        layer: int = -1
        """Layer whose features are used: -1 the last, -2 the one before it, 3 the third."""
        select: Select = "cls_patch"
        """`patch`, or `cls_patch` for the class token as well, which BLIP compares pictures by."""
        preprocess: Fit = "resize"
        """How a picture is brought to size; BLIP was trained on squashed ones (`resize`)."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import BlipVisionConfig, BlipVisionModel

        return BlipVisionModel, BlipVisionConfig

    @staticmethod
    def split(tower: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module | None]:
        return tower.embeddings, nn.Identity(), tower.encoder, tower.post_layernorm

    published = VisionTower.inner


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Blip)
