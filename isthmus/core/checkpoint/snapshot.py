"""A checkpoint as it is to be written: what a model is at one moment, apart from the model.

Whoever goes on training while it is written asks for copies. What learns is copied, to the
host's memory; what is frozen is not, since nothing writes to it before the stage ends.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from isthmus.core.checkpoint import manifest
from isthmus.core.checkpoint.manifest import Manifest, PartEntry
from isthmus.core.checkpoint.provenance import isthmus_version
from isthmus.core.checkpoint.weights import Tensors, state_of, write_weights
from isthmus.core.config import to_yaml
from isthmus.core.contracts import (
    LLM,
    PartConfig,
    QueryConnector,
    TextEncoder,
    Tuner,
    dump_part,
)

MODEL = "model.yaml"
TOKENIZERS = {
    "llm": "tokenizer",
    "connector": "connector_tokenizer",
    "text_encoder": "text_encoder_tokenizer",
}
"""Part -> folder of the tokenizer that it has, if it has one."""
READERS = (LLM, QueryConnector, TextEncoder)
"""Kinds of part that may have one."""


class Parts(Protocol):
    """A model, as far as a checkpoint knows it."""

    def parts(self) -> Mapping[str, Any]:
        """The named parts that are there."""
        ...


@dataclass
class Snapshot:
    """Files of a checkpoint by name: `texts` and `weights`. `model` fills in the parts."""

    copies: bool
    parts: dict[str, PartEntry] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    weights: dict[str, Tensors] = field(default_factory=dict)
    tokenizers: dict[str, Any] = field(default_factory=dict)

    def model(
        self,
        model: Parts,
        states: Mapping[str, Tensors],
        unchanged: Mapping[str, str],
        tuners: Mapping[str, Sequence[Tuner.Config]],
    ) -> None:
        """The parts, each with its configuration, its weights or where they are, its tokenizer."""
        configs: dict[str, dict[str, Any]] = {}
        for name, part in model.parts().items():
            config: PartConfig = part.config
            state = states.get(name) or state_of(part)
            added = tuners.get(name, ())
            entry = PartEntry(tuners=tuple(dump_part(tuner) for tuner in added))
            additions = [tuner.build().added(part) for tuner in added]
            if name in unchanged and config.all_pretrained and all(additions):
                config = _absolute(config)
                entry = replace(entry, reference=config.pretrained, sha256=unchanged[name])
                state = {key: state[key] for names in additions for key in names}
            else:
                config = part.blueprint()
            file = f"model/{name}.safetensors" if state else None
            self.tensors(f"model/{name}.safetensors", state, _frozen(part))
            self.parts[name] = replace(entry, file=file)
            configs[name] = dump_part(config)
            tokenizer = part.tokenizer if isinstance(part, READERS) else None
            if tokenizer is not None:
                self.tokenizers[name] = copy.deepcopy(tokenizer) if self.copies else tokenizer
        self.texts[MODEL] = to_yaml(configs)

    def tensors(
        self, name: str, tensors: Tensors | None, frozen: frozenset[str] = frozenset()
    ) -> None:
        """Nothing, and no file, when there are none (the identity connector)."""
        if tensors:
            self.weights[name] = _copies(tensors, frozen) if self.copies else tensors

    def write(self, folder: Path) -> None:
        """All files below `folder`, which is there and empty, the manifest last."""
        (folder / "model").mkdir()
        tied = {}
        for name, tensors in self.weights.items():
            if found := write_weights(folder / name, tensors):
                tied[name] = found
        for part, tokenizer in self.tokenizers.items():
            # How it was loaded is noted in it too, and would tell a resumed run from a whole one.
            for key in ("is_local", "local_files_only"):
                tokenizer.init_kwargs.pop(key, None)
            tokenizer.save_pretrained(folder / TOKENIZERS[part])
        for name, text in self.texts.items():
            _write(folder / name, text)
        listing = Manifest.of(folder, isthmus_version(), self.parts, tied)
        _write(folder / manifest.NAME, listing.to_json())


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _frozen(part: nn.Module) -> frozenset[str]:
    """Names of what no step of the stage changes; buffers are among it where nothing learns."""
    learning = {
        name for name, p in part.named_parameters(remove_duplicate=False) if p.requires_grad
    }
    if not learning:
        return frozenset(part.state_dict())
    return frozenset(dict(part.named_parameters(remove_duplicate=False))) - learning


def _copies(tensors: Tensors, frozen: frozenset[str]) -> dict[str, Tensor]:
    """Copies in the host's memory; of tensors that are one, one."""
    made: dict[Any, Tensor] = {}
    copies = {}
    for name, tensor in tensors.items():
        if name in frozen:
            copies[name] = tensor
            continue
        key = (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride())
        if key not in made:
            made[key] = tensor.detach().to("cpu", copy=True)
        copies[name] = made[key]
    return copies


def _absolute(config: PartConfig) -> PartConfig:
    """A local folder or file by its full path, so that the checkpoint loads from anywhere."""
    source = config.pretrained or ""
    place = Path(source).expanduser()
    changes: dict[str, Any] = {}
    for name, value in config:
        if isinstance(value, PartConfig):
            changes[name] = _absolute(value)
        elif isinstance(value, tuple) and any(isinstance(each, PartConfig) for each in value):
            changes[name] = tuple(map(_absolute, value))
        elif str(value) == source and place.exists():
            changes[name] = str(place.resolve())
    return config.model_copy(update=changes)
