"""How many tokens a language model of transformers has positions for, known before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.core.model.pretrained import TransformersConfig, published_config, wrong_shape
from isthmus.core.model.vocabulary import without_ids


def most_tokens(part: TransformersConfig) -> int | None:
    """Rows of the table of positions, of an inline config or of a folder that is here; None where
    there is no end, or where the hub alone knows."""
    if part.config is not None:
        return _rows(part.config)
    folder = str(part.model)
    if not Path(folder).expanduser().joinpath("config.json").is_file():
        return None
    return _rows(published_config(part, folder))


def _rows(said: Mapping[str, Any]) -> int | None:
    """The family's own default included; rotary positions have no end, but for dynamic ones."""
    from transformers import CONFIG_MAPPING

    values = {key: value for key, value in said.items() if key != "model_type"}
    if said.get("model_type") not in CONFIG_MAPPING:
        return None
    family = CONFIG_MAPPING[said["model_type"]]
    if any(True for _ in wrong_shape(family, without_ids(family, values))):
        return None  # `check_shape` says why
    config = family(**values)
    rope = getattr(config, "rope_parameters", None)
    if rope and rope.get("rope_type") != "dynamic":
        return None
    most: int | None = getattr(config, "max_position_embeddings", None)
    return most
