"""An image tower out of a whole model, which uses its features through the norm behind the last
layer: that of the BLIP family."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from isthmus.core.model.pretrained import label, read_tensors
from isthmus.core.model.transform import Fit
from isthmus.core.model.vision_tower import Select, VisionTower
from isthmus.errors import PartError

INSIDE = "vision_model."
"""What the weights of a tower inside a whole model are called by."""


class NormedTower(VisionTower):
    """A ViT of transformers and its last norm. (crops 3 height width) uint8 -> (tokens dim)"""

    prefix = 1
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)

    class Config(VisionTower.Config):
        """Base of such a tower's configuration."""

        layer: int = -1
        """Layer whose features are used, and normed: -1 the last, -2 the one before it."""
        select: Select = "cls_patch"
        """`cls_patch` for the class token as well, as the family has it, or `patch`."""
        preprocess: Fit = "resize"
        """How a picture is brought to size: `resize` squashes it, as the family was trained, `crop`
        cuts the centre of the filled frame, `pad` adds bars in the mean colour."""

    @staticmethod
    def split(tower: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module | None]:
        return tower.embeddings, nn.Identity(), tower.encoder, tower.post_layernorm

    def published(self, name: str, said: dict[str, Any]) -> tuple[Any, Any]:
        # Of the whole model's files only those are read that hold the tower.
        model_class, config_class = self.classes()
        inside = said.get("vision_config")
        shape = config_class.from_dict(
            {key: value for key, value in (inside or said).items() if key != "model_type"}
        )
        prefix = "" if inside is None else INSIDE
        tensors = read_tensors(self.config, name, (prefix,))
        with torch.device("meta"):
            tower = model_class(shape)
        found = {key.removeprefix(prefix): value for key, value in tensors.items()}
        try:
            tower.load_state_dict(found, assign=True)
        except RuntimeError as error:
            why = " ".join(str(error).split())
            raise PartError(f"{label(self.config)}: {name}: {why:.300}") from error
        return tower, shape
