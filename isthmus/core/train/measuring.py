"""Sizes of a stage's samples, found once.

They are measured by all processes together and kept in the run's folder, so that going on
with a run does not begin with tokenising everything again.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from isthmus.core.checkpoint.provenance import isthmus_version
from isthmus.core.contracts import Preparer, dump_part
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.sizes import Sizes, joined, measure
from isthmus.core.train.lines import writing
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.session import Session

LENGTHS = "lengths"
"""Folder of measured sizes, in the run's."""


def stage_sizes(session: Session, stage: OpenStage, preparer: Preparer) -> Sizes:
    """Sizes of the stage's samples: as they were measured before in this run's folder, or
    measured now, each process its part, and kept."""
    parallel = session.parallel
    path = session.settings.out / LENGTHS / f"{_key(session, stage)}.safetensors"
    known = parallel.on_main(lambda: _read(path, len(stage.mixture)))
    if known is not None:
        return known
    sizes = measured(session, stage, preparer, stage.mixture)
    parallel.on_main(lambda: _write(path, sizes))
    return sizes


def measured(session: Session, stage: OpenStage, preparer: Preparer, mixture: Mixture) -> Sizes:
    """Sizes of the mixture's samples, measured by all processes. What is wrong for one of them,
    all raise."""
    parallel = session.parallel
    shares = parallel.on_all(
        lambda: measure(
            mixture,
            preparer,
            rank=parallel.rank,
            world=parallel.world,
            workers=session.settings.workers,
            on_bad_image=stage.config.on_bad_image,
        )
    )
    return joined(shares)


def _key(session: Session, stage: OpenStage) -> str:
    """Stands for everything that the sizes follow from."""
    config = stage.config
    tools = session.model.tools(stage.template)
    tokenizers = (tools.tokenizer, tools.text_tokenizer, tools.connector_tokenizer)
    said = {
        "isthmus": isthmus_version(),
        "data": stage.mixture.fingerprint,
        "model": [dump_part(part) for _, part in session.settings.model.parts()],
        "tokenizers": [t.backend_tokenizer.to_str() for t in tokenizers if t is not None],
        "template": stage.template and dump_part(stage.template.config),
        "objective": dump_part(stage.objective.config),
        "max_length": config.max_length,
        "on_bad_image": config.on_bad_image,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path, count: int) -> Sizes | None:
    """The sizes kept in `path`; None where they are not, or not whole."""
    try:
        found = load(path.read_bytes())
        sizes = Sizes(found["tokens"].tolist(), found["images"].tolist())
    except (OSError, SafetensorError, KeyError):
        return None
    return sizes if len(sizes.tokens) == len(sizes.images) == count else None


def _write(path: Path, sizes: Sizes) -> None:
    """Keep them, whole or not at all."""
    tensors = {
        "tokens": torch.tensor(sizes.tokens, dtype=torch.int32),
        "images": torch.tensor(sizes.images, dtype=torch.int32),
    }
    partial = path.with_suffix(".tmp")
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            file.write(save(tensors))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
