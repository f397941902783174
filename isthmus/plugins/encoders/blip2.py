"""BLIP-2's image tower: EVA-CLIP's ViT-g, and the norm that BLIP-2 learnt behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus import hookimpl
from isthmus.core.model.normed_tower import NormedTower


class Blip2(NormedTower, name="blip2"):
    """ViT-g of EVA-CLIP (arXiv:2211.07636) without its last layer, and a norm, as in BLIP-2 (Li et
    al. 2023, arXiv:2301.12597) and InstructBLIP. (crops 3 height width) -> (tokens dim)

    A stage with `encoder: {type: by_module, modules: {norm: full}}` trains the norm alone, as
    BLIP-2's do.
    """

    model_types = ("blip-2", "instructblip")

    class Config(NormedTower.Config):
        """Configuration of `blip2`."""

        model: str | None = None
        """Hub id (`Salesforce/blip2-opt-2.7b`) or local folder of a BLIP-2 or an InstructBLIP; its
        tower alone is read."""

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        from transformers import Blip2VisionConfig, Blip2VisionModel

        return Blip2VisionModel, Blip2VisionConfig


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Blip2)
