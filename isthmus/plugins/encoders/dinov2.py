"""DINOv2: features learnt from images alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from isthmus import hookimpl
from isthmus.core.model.vision_tower import VisionTower


class Dinov2(VisionTower, name="dinov2"):
    """DINOv2 ViT (Oquab et al. 2023, arXiv:2304.07193). (crops 3 height width) -> (tokens dim)"""

    model_types = ("dinov2",)
    prefix = 1
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    class Config(VisionTower.Config):
        """Configuration of `dinov2`."""

        model: str | None = None
        """Hub id (`facebook/dinov2-large`) or local folder of published weights."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import Dinov2Config, Dinov2Model

        return Dinov2Model, Dinov2Config

    @staticmethod
    def split(tower: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module | None]:
        # Only DINOv2's own pretraining masks patches; a parameter that nothing uses would
        # wait for a gradient for ever.
        tower.embeddings.mask_token = None
        return tower.embeddings, nn.Identity(), tower.encoder, None


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Dinov2)
