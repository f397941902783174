"""Writing a checkpoint: everything into a temporary folder, the manifest last, then rename."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from isthmus.core.checkpoint import manifest
from isthmus.core.checkpoint.folder import find, prune, publish, tidy
from isthmus.core.checkpoint.manifest import Manifest, PartEntry
from isthmus.core.checkpoint.provenance import isthmus_version, plugins, versions
from isthmus.core.checkpoint.state import TrainerState
from isthmus.core.checkpoint.weights import Tensors, state_of, write_weights
from isthmus.core.config import to_yaml
from isthmus.core.contracts import LLM, PartConfig, Tuner, dump_part
from isthmus.errors import CheckpointError, WorkError

RUN, MODEL, TRAINER = "run.yaml", "model.yaml", "trainer.json"
OPTIMIZER, OBJECTIVE, TOKENIZER = "optimizer.safetensors", "objective.safetensors", "tokenizer"


class Parts(Protocol):
    """A model, as far as a checkpoint knows it."""

    def parts(self) -> Mapping[str, Any]:
        """The named parts that are there."""
        ...


def save(
    folder: Path,
    model: Parts,
    run: str | Mapping[str, Any],
    *,
    trainer: TrainerState | None = None,
    optimizer: Tensors | None = None,
    objective: Tensors | None = None,
    unchanged: Mapping[str, str] | None = None,
    tuners: Mapping[str, Sequence[Tuner.Config]] | None = None,
    states: Mapping[str, Tensors] | None = None,
    keep: int | None = None,
) -> Path:
    """Write a checkpoint to `folder`, all of it or nothing; an older one there is replaced.

    `run` is the resolved run, as YAML or as its mapping; `optimizer` is what
    `flatten_optimizer` gives; `tuners` lists what has added weights to a part that are still in
    it, in order; `unchanged` names parts of whose own weights nothing was trained, each with
    the `weights_hash` that it had when it was built: those that came from a hub id or a folder
    are referenced instead of copied, and only what tuners added is. `states` replaces the
    parts' own state where a sharded model had to be gathered. `keep` then prunes older
    checkpoints beside this one (`prune`): of a finished stage, all but this.

    Raises WorkError when the disk does not take it; what was there before is still there.
    """
    try:
        with publish(folder) as temporary:
            writing = _Writing(temporary)
            writing.model(model, states or {}, unchanged or {}, tuners or {})
            writing.text(RUN, run if isinstance(run, str) else to_yaml(run))
            if trainer is not None:
                trainer = replace(trainer, versions=versions(), plugins=plugins())
                writing.text(TRAINER, trainer.to_json())
            writing.weights(OPTIMIZER, optimizer)
            writing.weights(OBJECTIVE, objective)
            writing.finish()
    except OSError as error:
        raise WorkError(_not_written(folder, error)) from error
    try:
        tidy(folder.parent)
        if keep is not None:
            prune(folder.parent, 1 if trainer and trainer.finished else keep, saved=folder)
    except OSError as error:
        raise WorkError(
            f"{folder}: the checkpoint is whole, but older ones could not be removed: {error}"
        ) from error
    return folder


class _Writing:
    """A checkpoint as it grows in its temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: dict[str, PartEntry] = {}
        self.tied: dict[str, dict[str, str]] = {}

    def model(
        self,
        model: Parts,
        states: Mapping[str, Tensors],
        unchanged: Mapping[str, str],
        tuners: Mapping[str, Sequence[Tuner.Config]],
    ) -> None:
        configs: dict[str, dict[str, Any]] = {}
        (self.folder / "model").mkdir()
        for name, part in model.parts().items():
            config: PartConfig = part.config
            state = states.get(name) or state_of(part)
            added = tuners.get(name, ())
            entry = PartEntry(tuners=tuple(dump_part(tuner) for tuner in added))
            additions = [tuner.build().added(part) for tuner in added]
            if name in unchanged and config.pretrained and all(additions):
                config = _absolute(config)
                entry = replace(entry, reference=config.pretrained, sha256=unchanged[name])
                state = {key: state[key] for names in additions for key in names}
            else:
                config = part.blueprint()
            file = self.weights(f"model/{name}.safetensors", state)
            self.parts[name] = replace(entry, file=file)
            configs[name] = dump_part(config)
            if isinstance(part, LLM):
                self.tokenizer(part.tokenizer)
        self.text(MODEL, to_yaml(configs))

    def tokenizer(self, tokenizer: Any) -> None:
        # How it was loaded is noted in it too, and would tell a resumed run from a whole one.
        for key in ("is_local", "local_files_only"):
            tokenizer.init_kwargs.pop(key, None)
        tokenizer.save_pretrained(self.folder / TOKENIZER)

    def weights(self, name: str, tensors: Tensors | None) -> str | None:
        """Nothing, and no file, when there are no tensors (the identity connector)."""
        if not tensors:
            return None
        if tied := write_weights(self.folder / name, tensors):
            self.tied[name] = tied
        return name

    def text(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8", newline="\n")

    def finish(self) -> None:
        listing = Manifest.of(self.folder, isthmus_version(), self.parts, self.tied)
        self.text(manifest.NAME, listing.to_json())


def _absolute(config: PartConfig) -> PartConfig:
    """A local folder or file by its full path, so that the checkpoint loads from anywhere."""
    source = config.pretrained or ""
    place = Path(source).expanduser()
    if not place.exists():
        return config
    fields = [name for name, value in config if str(value) == source]
    return config.model_copy(update={name: str(place.resolve()) for name in fields})


def _not_written(folder: Path, error: OSError) -> str:
    message = f"{folder}: the checkpoint could not be written: {error}."
    with suppress(CheckpointError, OSError):
        message += f" The last whole one is {find(folder.parent, deep=False).folder}."
    return message
