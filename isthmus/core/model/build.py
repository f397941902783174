"""From the `model:` section of a run to the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from isthmus.core.contracts import AnyConnector, PartConfig, runtime_arguments
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.draw import drawn_from, part_seed
from isthmus.core.model.newlines import wants_newline
from isthmus.core.model.tokenizer import Texts
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import PartError, did_you_mean


def build_model(
    config: ModelConfig,
    *,
    tokenizer: Any = None,
    tokenizers: Mapping[str, Any] | None = None,
    texts: Texts | None = None,
    seed: int = 0,
    only: Collection[str] | None = None,
    model: VisionLanguageModel | None = None,
) -> VisionLanguageModel:
    """Build the parts, or those named in `only`, on the CPU in fp32; where there is a `model`, what
    it lacks of them, and put that into it.

    `tokenizer` is used instead of the one that the LLM's configuration asks for, `tokenizers`
    (part -> tokenizer) instead of those of other parts; `texts` is what a tokenizer of the run's
    own is trained on. Every part is drawn from a seed of its own, made of `seed` and its name.
    Raises InputError where a part cannot be had.
    """
    wanted = {name: part for name, part in config.parts() if only is None or name in only}
    for name in only or ():
        if name not in wanted:
            known = [part for part, _ in config.parts()]
            raise PartError(
                f"the model has no part {name!r}. Parts: {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
    built: dict[str, Any] = dict(model.parts()) if model else {}
    own = {"llm": tokenizer, **(tokenizers or {})}
    # The connector last: its widths follow from the others.
    for name in ("encoder", "llm", "text_encoder", "connector"):
        if name in wanted and name not in built:
            given = {"tokenizer_object": own.get(name), "texts": texts}
            if name in ("llm", "text_encoder"):
                given["visual_dim"] = getattr(built.get("encoder"), "dim", None)
            if name == "connector":
                given |= _widths(wanted[name], built)
            built[name] = drawn_from(wanted[name], name, seed, given)
    if model is None:
        return VisionLanguageModel(**built)
    before = model.parts()
    for name, part in built.items():
        if name not in before:
            model.add(name, part, part_seed(seed, f"{name}, joined"))
    return model


def _widths(config: PartConfig, built: Mapping[str, Any]) -> dict[str, int | None]:
    """What the connector lies between."""
    owner: type[AnyConnector] = config.owner  # type: ignore[assignment]
    missing = [name for name in ("encoder", "llm") if name not in built]
    if missing == ["llm"] and owner.stands_alone:
        return {"dim_in": built["encoder"].dim, "dim_out": None}
    if missing:
        raise PartError(
            f"connector {config.owner.name}: its widths follow from the encoder and the llm; "
            f"build {' and '.join(missing)} with it"
        )
    encoder, llm = built["encoder"], built["llm"]
    widths: dict[str, int | None] = {
        "dim_in": encoder.dim,
        "dim_out": llm.dim,
        "newline": wants_newline(encoder),
    }
    if "llm_layers" in runtime_arguments(config.owner):
        widths["llm_layers"] = len(llm.decoder_layers)
    return widths
