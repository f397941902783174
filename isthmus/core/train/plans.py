"""Which samples a stage's steps take: their sizes, found once, and the plan made from them.

Sizes are measured by all processes together and kept in the run's folder, so that going on
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
from isthmus.core.contracts import Encoder, Preparer, dump_part
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.data.plan import Plan
from isthmus.core.data.sizes import Cost, Sizes, joined, measure
from isthmus.core.data.stream import Place
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.core.train.lines import writing
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.seeds import derive
from isthmus.core.train.session import Session
from isthmus.errors import InputError, IsthmusError, WorkError

LENGTHS = "lengths"
"""Folder of measured sizes, in the run's."""


def make_plan(session: Session, stage: OpenStage, preparer: Preparer) -> Plan | PackedPlan:
    """The stage's steps. Samples are measured only where steps, packs or the shares of several
    processes follow from their lengths."""
    sizes = stage_sizes(session, stage, preparer) if _by_length(session, stage) else None
    seed = derive(session.settings.seed, "order", stage.index)
    config = stage.config
    return _plan(session, stage, stage.mixture, sizes, seed, config.epochs, config.steps)


def make_window_plan(
    session: Session, stage: OpenStage, preparer: Preparer, window: Mixture, place: Place
) -> Plan | PackedPlan:
    """The steps of a window of the stage's stream, each sample once."""
    sizes = _measured(session, stage, preparer, window) if _by_length(session, stage) else None
    seed = derive(session.settings.seed, "order", stage.index, place.reading, place.samples)
    return _plan(session, stage, window, sizes, seed, epochs=1)


def _by_length(session: Session, stage: OpenStage) -> bool:
    batch = stage.config.batch
    return bool(batch.tokens or (batch.micro_tokens and session.parallel.world > 1))


def _plan(
    session: Session,
    stage: OpenStage,
    mixture: Mixture,
    sizes: Sizes | None,
    seed: int,
    epochs: float | None = None,
    steps: int | None = None,
) -> Plan | PackedPlan:
    batch = stage.config.batch
    lengths = costs = None
    if sizes is not None:
        lengths, costs = sizes.tokens, sample_cost(session.model).of(sizes)
    if lengths and batch.tokens and batch.capacity:
        return PackedPlan(
            mixture,
            lengths,
            capacity=batch.capacity,
            packs=batch.tokens // batch.capacity,
            most=batch.micro_samples,
            epochs=epochs,
            steps=steps,
            seed=seed,
            costs=costs,
        )
    return Plan(
        mixture,
        samples=batch.samples,
        tokens=batch.tokens,
        epochs=epochs,
        steps=steps,
        seed=seed,
        lengths=lengths,
        costs=costs,
    )


def sample_cost(model: VisionLanguageModel) -> Cost:
    """What samples cost by the shapes of the model: FLOPs of its matrices and of attention,
    relative to one token's in the LLM's layers.

    A part that learns counts three times its forward pass, an LLM that does not twice (its
    inputs' gradients), a frozen encoder once. An image is one of 336 x 336 pixels.
    """
    if model.llm is None:
        return Cost()
    weights = sum(p.numel() for p in model.llm.decoder_layers.parameters())
    layers = len(model.llm.decoder_layers)
    image = 0.0
    if isinstance(model.encoder, Encoder):
        seen = sum(grid.num_features for grid in model.encoder.transform.grids((336, 336)))
        work = seen * sum(p.numel() for p in model.encoder.parameters())
        times = (3 if learns(model.encoder) else 1) / (3 if learns(model.llm) else 2)
        image = times * work / weights
    return Cost(square=layers * model.llm.dim / weights, image=image)


def stage_sizes(session: Session, stage: OpenStage, preparer: Preparer) -> Sizes:
    """Sizes of the stage's samples: as they were measured before in this run's folder, or
    measured now, each process its part, and kept."""
    parallel = session.parallel
    path = session.settings.out / LENGTHS / f"{_key(session, stage)}.safetensors"
    known = parallel.on_main(lambda: _read(path, len(stage.mixture)))
    if known:
        return known
    sizes = _measured(session, stage, preparer, stage.mixture)
    parallel.on_main(lambda: _write(path, sizes))
    return sizes


def _measured(session: Session, stage: OpenStage, preparer: Preparer, mixture: Mixture) -> Sizes:
    """Sizes measured by all processes. What is wrong for one of them, all raise."""
    parallel = session.parallel
    own: list[Sizes] = []
    error: IsthmusError | None = None
    try:
        own = measure(
            mixture,
            preparer,
            rank=parallel.rank,
            world=parallel.world,
            workers=session.settings.workers,
            on_bad_image=stage.config.on_bad_image,
        )
    except IsthmusError as raised:
        error = raised
    everyone = parallel.gather((own, error and (isinstance(error, InputError), str(error))))
    for _, failure in everyone:
        if failure:
            is_input, message = failure
            raise error or (InputError(message) if is_input else WorkError(message))
    return joined([share for share, _ in everyone])


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
