"""What stands behind the towers of a published model, read into an objective that compares: of a
CLIP or SigLIP norm, projections or probe, and temperature; of a BLIP or BLIP-2 one layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from isthmus.core.contracts import PartConfig
from isthmus.core.model.placeholders import Placeholders
from isthmus.core.model.pretrained import label, published_config, read_tensors
from isthmus.core.model.vision_tower import VisionTower
from isthmus.errors import PartError

_BOTH = {
    "logit_scale": "scale.log",
    "vision_model.post_layernorm.weight": "towers.image.norm.weight",
    "vision_model.post_layernorm.bias": "towers.image.norm.bias",
}
_LAYERS = {
    "vision_model.head.attention.out_proj": "towers.image.attention.out_proj",
    "vision_model.head.layernorm": "towers.image.probe_norm",
    "vision_model.head.mlp.fc1": "towers.image.probe_layers.fc1",
    "vision_model.head.mlp.fc2": "towers.image.probe_layers.fc2",
}
_NAMES: dict[str, dict[str, str]] = {
    "clip": _BOTH
    | {
        "visual_projection.weight": "towers.image.map.weight",
        "text_projection.weight": "towers.text.weight",
    },
    "siglip": _BOTH
    | {"logit_bias": "bias", "vision_model.head.probe": "towers.image.probe"}
    | {f"{a}.{end}": f"{b}.{end}" for a, b in _LAYERS.items() for end in ("weight", "bias")},
}
"""Family -> transformers' name -> an objective's."""
_JOINED = "vision_model.head.attention.in_proj_"
"""Queries, keys and values of SigLIP's probe, one below the other."""


def load_published_heads(objective: Any, encoder: Any) -> None:
    """Let an objective with `towers` begin as `config.model`, a hub id or folder, ended.

    Raises PartError where that is another family's model, has other sizes, or where the encoder
    stops before the layer that these weights stand behind. Where a checkpoint's come over them
    (`Placeholders`), nothing is read.
    """
    if Placeholders.active:
        return
    config, family = objective.config, objective.config.owner.name
    said = published_config(config, config.model)
    if said.get("model_type") != family:
        raise PartError(
            f"{label(config)}: model: {config.model} is a {said.get('model_type')!r} model, whose "
            f"ends this objective cannot take up; it takes those of a {family!r} model"
        )
    wanted = _settings(family, said)
    wrong = {name: value for name, value in wanted.items() if _chosen(objective, name) != value}
    if wrong:
        write = ", ".join(f"{name}: {_yaml(value)}" for name, value in wanted.items())
        raise PartError(
            f"{label(config)}: {next(iter(wrong))}: {config.model} has another; write `{write}`"
        )
    if isinstance(encoder, VisionTower) and encoder.layers < encoder.shape.num_hidden_layers:
        raise PartError(
            f"{label(config)}: model: its weights stand behind layer "
            f"{encoder.shape.num_hidden_layers} of the encoder, which runs up to {encoder.layers}; "
            "write `layer: -1` there"
        )
    _load(objective, dict(_renamed(family, read_tensors(config, config.model, _prefixes(family)))))


def fill_head(part: PartConfig, name: str, places: tuple[str, ...], head: nn.Linear) -> None:
    """Load a linear layer of a BLIP-2 or a BLIP that compares pictures and texts (`itm_head`),
    under one of these names, over the one that was drawn. Raises PartError when it is not there,
    or of another size. Where a checkpoint's come over it (`Placeholders`), nothing is read."""
    if Placeholders.active:
        return
    found = read_tensors(part, name, tuple(f"{place}." for place in places))
    place = next((p for p in places if f"{p}.weight" in found), places[0])
    for key, own in head.state_dict().items():
        tensor = found.get(f"{place}.{key}")
        if tensor is None:
            raise PartError(
                f"{label(part)}: model: {name} has no {place}; take one that was made to "
                "compare pictures and texts (Salesforce/blip2-itm-vit-g), or leave out `model`"
            )
        if tensor.shape != own.shape:
            there, here = tuple(tensor.shape), tuple(own.shape)
            raise PartError(f"{label(part)}: model: {place}.{key} of {name} is {there}, not {here}")
        own.copy_(tensor)


def _settings(family: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the objective must say to have the sizes of the published model."""
    from transformers import CLIPConfig, SiglipConfig

    if family == "clip":
        return {"dim": CLIPConfig.from_dict(dict(said)).projection_dim, "pool": "cls"}
    vision: Any = SiglipConfig.from_dict(dict(said)).vision_config
    heads, hidden = vision.num_attention_heads, vision.intermediate_size
    return {"dim": None, "pool": "attention", "heads": heads, "hidden": hidden}


def _chosen(objective: Any, name: str) -> Any:
    """What the objective has, said or not."""
    return getattr(objective.towers if name in ("heads", "hidden") else objective.config, name)


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value)


def _prefixes(family: str) -> tuple[str, ...]:
    return (*_NAMES[family], _JOINED)


def _renamed(family: str, found: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in found.items():
        if name.startswith(_JOINED):
            end = name.removeprefix(_JOINED)
            for own, part in zip("qkv", tensor.chunk(3), strict=True):
                yield f"towers.image.attention.{own}_proj.{end}", part
        elif name in _NAMES[family]:
            # Scalars there are rows of one here, since FSDP refuses scalars.
            yield _NAMES[family][name], tensor if tensor.ndim else tensor[None]


def _load(objective: nn.Module, found: Mapping[str, Tensor]) -> None:
    config: Any = objective.config
    own = objective.state_dict()
    lacking = sorted(own.keys() - found.keys())
    if lacking:
        raise PartError(
            f"{label(config)}: model: {config.model} lacks {', '.join(lacking[:3])}; is it a "
            "whole model, with both towers?"
        )
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            raise PartError(
                f"{label(config)}: model: {name} is {tuple(tensor.shape)} in {config.model} and "
                f"{tuple(own[name].shape)} here; take encoder and text encoder of the same model"
            )
    objective.load_state_dict(found)
