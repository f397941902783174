"""CLIP's image tower, the eye of LLaVA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from isthmus import hookimpl
from isthmus.core.model.vision_tower import VisionTower


class Clip(VisionTower, name="clip"):
    """CLIP ViT (Radford et al. 2021, arXiv:2103.00020). (crops 3 height width) -> (tokens dim)"""

    model_types = ("clip", "clip_vision_model")
    prefix = 1
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)

    class Config(VisionTower.Config):
        """Configuration of `clip`."""

        model: str | None = None
        """Hub id (`openai/clip-vit-large-patch14-336`) or local folder of published weights."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        return CLIPVisionModel, CLIPVisionConfig

    @staticmethod
    def split(tower: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module | None]:
        return tower.embeddings, tower.pre_layrnorm, tower.encoder, None


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Clip)
