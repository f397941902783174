"""BLIP's image tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus import hookimpl
from isthmus.core.model.normed_tower import NormedTower


class Blip(NormedTower, name="blip"):
    """BLIP ViT (Li et al. 2022, arXiv:2201.12086), with the norm that stands behind its last layer.
    (crops 3 height width) -> (tokens dim)"""

    model_types = ("blip", "blip_vision_model")

    class Config(NormedTower.Config):
        """Configuration of `blip`."""

        model: str | None = None
        """Hub id (`Salesforce/blip-image-captioning-base`) or local folder of published weights."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import BlipVisionConfig, BlipVisionModel

        return BlipVisionModel, BlipVisionConfig


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Blip)
