"""SigLIP's image tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from isthmus import hookimpl
from isthmus.core.model.transform import Fit
from isthmus.core.model.vision_tower import VisionTower


class Siglip(VisionTower, name="siglip"):
    """SigLIP ViT (Zhai et al. 2023, arXiv:2303.15343). (crops 3 height width) -> (tokens dim)"""

    model_types = ("siglip", "siglip_vision_model")
    prefix = 0
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    class Config(VisionTower.Config):
        """Configuration of `siglip`."""

        model: str | None = None
        """Hub id (`google/siglip-so400m-patch14-384`) or local folder of published weights."""

        preprocess: Fit = "resize"
        """How a picture is brought to size; SigLIP was trained on squashed ones (`resize`)."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import SiglipVisionConfig, SiglipVisionModel

        return SiglipVisionModel, SiglipVisionConfig

    @staticmethod
    def split(tower: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module | None]:
        return tower.embeddings, nn.Identity(), tower.encoder, None


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Siglip)
