"""Reading a checkpoint: its files are checked before anything is built from them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from isthmus.core import config as configs
from isthmus.core.checkpoint.folder import find
from isthmus.core.checkpoint.manifest import Manifest, PartEntry
from isthmus.core.checkpoint.saving import OBJECTIVE, OPTIMIZER, RUN, TRAINER
from isthmus.core.checkpoint.snapshot import MODEL, TOKENIZERS
from isthmus.core.checkpoint.state import TrainerState
from isthmus.core.checkpoint.weights import load_weights, read_weights, weights_hash
from isthmus.core.contracts import PartConfig, Tuner
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.placeholders import Placeholders
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import CheckpointError, InputError


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk; its weights are read when asked for.

    `run` is the resolved run as YAML; `skipped` says which newer checkpoints of the run are
    damaged, one line each, for the caller to warn of.
    """

    folder: Path
    run: str
    config: ModelConfig
    trainer: TrainerState | None
    manifest: Manifest
    skipped: tuple[str, ...] = ()

    @property
    def tuners(self) -> dict[str, tuple[Tuner.Config, ...]]:
        """Part -> what has added weights to it that are still in it, in order."""
        return {
            name: tuple(_tuner(each) for each in entry.tuners)
            for name, entry in self.manifest.parts.items()
            if entry.tuners
        }

    @property
    def unchanged(self) -> dict[str, str]:
        """Part -> `weights_hash` of those that are referenced, as `save` takes it."""
        return {
            name: entry.sha256
            for name, entry in self.manifest.parts.items()
            if entry.reference and entry.sha256
        }

    def model(self, only: Collection[str] | None = None) -> VisionLanguageModel:
        """Build the parts (or those of `only`) and load their weights, all of them frozen.

        Raises CheckpointError when a name is missing or left over, or when a referenced
        hub id or folder no longer holds the weights that it held.
        """
        model = self._build(only)
        for name, part in model.parts().items():
            entry = self.manifest.parts[name]
            if entry.reference:
                self._compare(name, part, entry)
            tuners = [tuner.build() for tuner in self.tuners.get(name, ())]
            for tuner in tuners:
                tuner.apply(part)
            copied = None
            if entry.reference:
                copied = frozenset[str]().union(*(tuner.added(part) for tuner in tuners))
            tensors = self._tensors(entry.file) if entry.file else {}
            load_weights(part, tensors, str(self.folder / (entry.file or MODEL)), copied)
        return model.requires_grad_(False).eval()

    def fill(self, name: str, part: nn.Module) -> bool:
        """Load one part's weights into a part that is built alike. False where the checkpoint has
        none of its own, since the part was left as it was published, and so it is here.

        Raises CheckpointError where the two are not alike.
        """
        entry = self.manifest.parts[name]
        if entry.reference:
            self._compare(name, part, entry)
            return False
        tensors = self._tensors(entry.file) if entry.file else {}
        load_weights(part, tensors, str(self.folder / (entry.file or MODEL)))
        return True

    def tokenizers(self) -> dict[str, Any]:
        """Part -> its tokenizer, of those that have one."""
        return _tokenizers(self.folder)

    def optimizer(self) -> dict[str, Tensor]:
        """What `flatten_optimizer` gave, or nothing when the stage was over."""
        return self._tensors(OPTIMIZER)

    def objective(self) -> dict[str, Tensor]:
        """The objective's own weights, if it has any."""
        return self._tensors(OBJECTIVE)

    def _tensors(self, name: str) -> dict[str, Tensor]:
        if name not in self.manifest.files:
            return {}
        return read_weights(self.folder / name, self.manifest.tied.get(name, {}))

    def _build(self, only: Collection[str] | None) -> VisionLanguageModel:
        try:
            with Placeholders():
                return build_model(self.config, tokenizers=self.tokenizers(), only=only)
        except (InputError, OSError) as error:
            referenced = [
                f"{name} from {entry.reference}"
                for name, entry in self.manifest.parts.items()
                if entry.reference
            ]
            if not referenced:
                raise
            raise CheckpointError(
                f"{self.folder}: its model could not be built ({error}). It does not hold every "
                f"weight itself, but refers to {', '.join(referenced)}"
            ) from error

    def _compare(self, name: str, part: nn.Module, entry: PartEntry) -> None:
        found = weights_hash(part)
        if found != entry.sha256:
            raise CheckpointError(
                f"{self.folder}: {name} is referenced, not copied, and what it refers to has "
                f"changed: the weights of {entry.reference} had sha256 {entry.sha256}, and now "
                f"have {found}. Give back the weights that this model was trained with."
            )


def load(folder: Path | str, *, deep: bool = True) -> Checkpoint:
    """Open the newest whole checkpoint of a run folder, or a checkpoint folder itself.

    `deep` reads every byte against the manifest; otherwise sizes alone are compared.
    """
    found = find(Path(folder), deep=deep)
    place = found.folder
    listing = Manifest.read(place)
    trainer = place / TRAINER
    return Checkpoint(
        folder=place,
        run=(place / RUN).read_text(encoding="utf-8"),
        config=configs.load(ModelConfig, place / MODEL),
        trainer=(
            TrainerState.from_json(trainer.read_text(encoding="utf-8"), str(trainer))
            if TRAINER in listing.files
            else None
        ),
        manifest=listing,
        skipped=found.skipped,
    )


def _tuner(mapping: dict[str, object]) -> Tuner.Config:
    config: PartConfig = configs.validate_part("tuner", mapping)
    if not isinstance(config, Tuner.Config):
        raise CheckpointError(f"{mapping.get('type')!r} is no tuner")
    return config


def _tokenizers(folder: Path) -> dict[str, Any]:
    """Part -> its tokenizer, of those that are there."""
    there = {part: folder / name for part, name in TOKENIZERS.items() if (folder / name).is_dir()}
    if not there:
        return {}
    from transformers import PreTrainedTokenizerFast

    return {part: PreTrainedTokenizerFast.from_pretrained(at) for part, at in there.items()}
