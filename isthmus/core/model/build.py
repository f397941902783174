"""From the `model:` section of a run to the model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from isthmus.core.contracts import PartConfig
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.draw import drawn_from
from isthmus.core.model.newlines import wants_newline
from isthmus.core.model.tokenizer import Texts
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import PartError, did_you_mean


def build_model(
    config: ModelConfig,
    *,
    tokenizer: Any = None,
    texts: Texts | None = None,
    seed: int = 0,
    only: Collection[str] | None = None,
) -> VisionLanguageModel:
    """Build the parts, or those named in `only`, on the CPU in fp32.

    `tokenizer` is used instead of the one that the LLM's configuration asks for; `texts` is
    what a tokenizer of the run's own is trained on. Every part is drawn from a seed of its own,
    made of `seed` and its name. Raises InputError where a part cannot be had.
    """
    wanted = {name: part for name, part in config.parts() if only is None or name in only}
    for name in only or ():
        if name not in wanted:
            known = [part for part, _ in config.parts()]
            raise PartError(
                f"the model has no part {name!r}. Parts: {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
    built: dict[str, Any] = {}
    given: dict[str, Any] = {"tokenizer_object": tokenizer, "texts": texts}
    for name in ("encoder", "llm", "text_encoder"):
        if name in wanted:
            built[name] = drawn_from(wanted[name], name, seed, given)
    if "connector" in wanted:
        built["connector"] = _connector(wanted["connector"], built, seed, given)
    return VisionLanguageModel(**built)


def _connector(config: PartConfig, built: dict[str, Any], seed: int, given: dict[str, Any]) -> Any:
    missing = [name for name in ("encoder", "llm") if name not in built]
    if missing:
        raise PartError(
            f"connector {config.owner.name}: its widths follow from the encoder and the llm; "
            f"build {' and '.join(missing)} with it"
        )
    encoder, llm = built["encoder"], built["llm"]
    widths = {"dim_in": encoder.dim, "dim_out": llm.dim, "newline": wants_newline(encoder)}
    return drawn_from(config, "connector", seed, given | widths)
