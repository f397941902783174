"""A transformers model: published weights by hub id or folder, or an inline config from scratch.

Only safetensors are read, and no code that comes with a model is run. What would otherwise load
half and say nothing (a key misspelt, another family's checkpoint) is refused.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import PartConfig, Place
from isthmus.core.model.draw import Init, draw_scaled
from isthmus.errors import InputError, PartError, did_you_mean

VOLATILE = frozenset(
    (
        *("_name_or_path", "architectures", "auto_map", "chunk_size_feed_forward", "dtype"),
        *("id2label", "label2id", "output_attentions", "output_hidden_states", "problem_type"),
        *("out_features", "out_indices", "stage_names"),  # of backbones for detection
        *("return_dict", "torch_dtype", "transformers_version", "use_cache"),
    )
)
"""Keys of a transformers config that say nothing about the shape of the model."""


class TransformersConfig(PartConfig):
    """Base of the configuration of a part that transformers implements."""

    model: str | None = None
    """Hub id or local folder of published weights."""
    config: dict[str, Any] | None = None
    """Instead of `model`: transformers' configuration, written out, for weights from scratch."""
    init: Init = "scaled"
    """How weights from scratch are drawn: `scaled` at 1/sqrt(width), `stock` as transformers
    does (0.02 nearly everywhere, too little for small models)."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if (self.model is None) == (self.config is None):
            yield (), "give either `model`, a hub id or folder, or `config`, to build from scratch"
        elif self.config is not None:
            yield from ((("config", *place), why) for place, why in self.check_shape(self.config))

    def check_shape(self, shape: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
        """What is wrong with an inline `config`, as far as can be told without building it: the
        place in it, and why."""
        return iter(())

    @property
    def pretrained(self) -> str | None:
        return self.model


def label(config: PartConfig) -> str:
    """`llm causal`: the part, for the beginning of a message."""
    return f"{config.owner.kind} {config.owner.name}"


def located(part: PartConfig, name: str) -> str:
    """The folder that is meant, or a hub id as it is. Raises InputError where what can only be
    a folder is not there."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{label(part)}: there is no folder {folder}")
    return name


def published_config(part: PartConfig, name: str) -> dict[str, Any]:
    """The config.json of a hub id or folder; raises InputError where it cannot be had."""
    from transformers import PreTrainedConfig

    place = located(part, name)
    if Path(place).is_dir() and not Path(place, "config.json").is_file():
        raise InputError(
            f"{label(part)}: the folder {place} has no config.json; give the folder of a model "
            "that was saved with `save_pretrained`"
        )
    with quiet(), reachable(part, name):
        return dict(PreTrainedConfig.get_config_dict(place)[0])


def preprocessor(part: PartConfig, name: str) -> Mapping[str, Any]:
    """What a hub id or folder says of its pictures (`image_mean`, ...); nothing if it does not."""
    from transformers.utils import cached_file

    place = located(part, name)
    with quiet(), reachable(part, name):
        for file in ("preprocessor_config.json", "processor_config.json"):
            found = cached_file(place, file, _raise_exceptions_for_missing_entries=False)
            if found is not None:
                said = json.loads(Path(found).read_text(encoding="utf-8"))
                return dict(said.get("image_processor", said))
    return {}


def load_published(part: PartConfig, model_class: Any, name: str, **kwargs: Any) -> Any:
    """The model with its published weights in fp32; every weight must be there."""
    place = located(part, name)
    with quiet(), reachable(part, name):
        model, report = model_class.from_pretrained(
            place,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **kwargs,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise PartError(
            f"{label(part)}: {name} lacks {len(missing)} of this model's weights "
            f"({', '.join(missing[:3])}, ...); they would have been random. Is it another kind "
            "of model?"
        )
    return model


def read_tensors(part: PartConfig, name: str, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights of a hub id or folder whose names begin so, in fp32; of several files only
    those are fetched that hold any."""
    from safetensors import safe_open
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

    place = located(part, name)
    found: dict[str, Tensor] = {}
    with quiet(), reachable(part, name):
        index = cached_file(
            place, SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False
        )
        files = {SAFE_WEIGHTS_NAME}
        if index is not None:
            places = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
            files = {file for key, file in places.items() if key.startswith(prefixes)}
        for file in sorted(files):
            with safe_open(cached_file(place, file), framework="pt") as tensors:
                wanted = [key for key in tensors.keys() if key.startswith(prefixes)]  # noqa: SIM118
                found |= {key: tensors.get_tensor(key).float() for key in wanted}
    return found


def scratch_config(part: PartConfig, config_class: Any, values: Mapping[str, Any]) -> Any:
    """transformers' configuration object of an inline config; unknown keys are refused."""
    for _, why in wrong_shape(config_class, values):
        raise PartError(f"{label(part)}: config: {why}")
    return config_class(**values)


def wrong_shape(config_class: Any, values: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """What keeps `values` from being transformers' configuration of this class, key by key."""
    from huggingface_hub.errors import StrictDataclassError

    known = _keys(config_class)
    unknown = [key for key in values if not knows(config_class, key)]
    for key in unknown:
        near = did_you_mean(key, known)
        listed = ", ".join(sorted(known - VOLATILE))
        yield (key,), f"{config_class.__name__} has no key {key!r}.{near} Known: {listed}"
    if unknown:
        return
    try:
        config_class(**values)
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        yield (), " ".join(str(error).split())


def knows(config_class: Any, key: str) -> bool:
    """Whether a configuration of this class has the key, or its family's model reads it."""
    return key in _keys(config_class) or key in _reads(config_class)


def build_scratch(part: TransformersConfig, model_class: Any, config: Any, **kwargs: Any) -> Any:
    """A model of this configuration in fp32, drawn from torch's random generator."""
    try:
        # Building notes the attention implementation in the config it is given.
        model = model_class(copy.deepcopy(config), **kwargs).float()
    except (ValueError, TypeError, AssertionError, RuntimeError) as error:
        raise PartError(f"{label(part)}: config: {error}") from error
    if part.init == "scaled":
        draw_scaled(model, getattr(config, "hidden_size", None))
    return model


def written_out(config: Any) -> dict[str, Any]:
    """The configuration as plain values that `scratch_config` reads back."""
    family: type = type(config)
    means = (_keys(family) | _reads(family)) - VOLATILE
    return {key: _plain(value) for key, value in config.to_dict().items() if key in means}


def _plain(value: Any) -> Any:
    """A configuration inside a configuration, likewise."""
    if not isinstance(value, dict) or "model_type" not in value:
        return value
    return {key: _plain(own) for key, own in value.items() if key not in VOLATILE}


@functools.cache
def _keys(config_class: type) -> frozenset[str]:
    legacy = ("rope_theta", "rope_scaling", "partial_rotary_factor")
    family: Any = config_class
    with quiet():
        return frozenset((*family().to_dict(), *family.attribute_map, *legacy))


@functools.cache
def _reads(config_class: type) -> frozenset[str]:
    """What the family's source reads of its configuration. Some read keys that they do not list
    (Qwen3-MoE's `head_dim`); a key that is neither listed nor read does nothing."""
    home = Path(inspect.getfile(config_class))
    source = home.with_name(home.name.replace("configuration_", "modeling_"))
    reads = re.findall(r'config\.(\w+)|config, "(\w+)"', source.read_text(encoding="utf-8"))
    return frozenset(plain or quoted for plain, quoted in reads)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without load reports and bars of loading: `load_published` checks the report itself. What
    is downloaded, which may take an hour, still shows its bar, where output is a terminal."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    silent = are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # those of the hub with its own
    if not silent:
        enable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
        if silent:
            disable_progress_bars()


@contextlib.contextmanager
def reachable(part: PartConfig, name: str) -> Iterator[None]:
    """Turns what libraries raise while loading `name` into one InputError."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        why = str(error).strip().split("\n")[0]
        if isinstance(error, OSError) and "safetensors" in why:
            message = (
                f"{name} has no weights as safetensors, and pickles are not read. Load it once "
                "with transformers, `save_pretrained` it, and give that folder"
            )
        elif Path(name).expanduser().is_dir():
            message = f"the folder {name} could not be loaded: {type(error).__name__}: {why}"
        else:
            message = (
                f"{name!r} is no folder here and could not be had from the hub: {why} Give a local "
                "folder, or an inline `config:` to build from scratch"
            )
        raise InputError(f"{label(part)}: {message}") from error
