"""BLIP-2's image tower: EVA-CLIP's ViT-g, and the norm that BLIP-2 learnt behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isthmus import hookimpl
from isthmus.core.model.pretrained import label, published_config, read_tensors
from isthmus.core.model.transform import Fit
from isthmus.core.model.vision_tower import Select, VisionTower
from isthmus.errors import PartError

PREFIX = "vision_model."
"""What the tower's weights are called by inside a whole BLIP-2."""


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

    def _load(self) -> tuple[Any, Any]:
        """The tower out of a whole model, of whose files those are read that hold it."""
        config = self.config
        if config.model is None:
            return super()._load()
        said = published_config(config, config.model)
        if said.get("model_type") not in self.model_types:
            raise PartError(
                f"{label(config)}: {config.model} is a {said.get('model_type')!r} model; this "
                f"encoder loads {' or '.join(self.model_types)}"
            )
        model_class, config_class = self.classes()
        vision = said.get("vision_config") or {}
        shape = config_class.from_dict({k: v for k, v in vision.items() if k != "model_type"})
        tensors = read_tensors(config, config.model, (PREFIX,))
        with torch.device("meta"):
            tower = model_class(shape)
        found = {key.removeprefix(PREFIX): value for key, value in tensors.items()}
        try:
            tower.load_state_dict(found, assign=True)
        except RuntimeError as error:
            why = " ".join(str(error).split())
            raise PartError(f"{label(config)}: {config.model}: {why:.300}") from error
        return tower, shape


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Blip2)
