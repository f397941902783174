"""A program for test_ranks: a few steps whose gradients are written down instead of used.

    python -m tests.core.train.step_gradients DATA OUT MODE TUNERS [LLM]

Started alone or by torchrun; the main process writes OUT. TUNERS is a JSON list: who learns, once
after the other; null, and everything does. LLM is a configuration as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from isthmus.core.config import load
from isthmus.core.contracts import Loss, ParameterGroup, Preparer
from isthmus.core.data.loader import StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.plan import Plan
from isthmus.core.model.build import build_model
from isthmus.core.train.config import OptimizerConfig, Parallelism, RunConfig
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.opening import open_stages, texts
from isthmus.core.train.optimizer import build_optimizer
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.tuning import apply_tuners
from isthmus.errors import NonFiniteLoss
from tests.core.train.tiny import stage, tiny_run

SAMPLES = 5
"""Samples in a step: over two processes shares of three and two, in micro-batches of two."""


Tuners = dict[str, Any]


def setting(
    data: Path, tuners: Tuners | None = None, llm: dict[str, Any] | None = None
) -> tuple[Root, Mixture, Preparer]:
    """The model, in fp32, and the samples; the same in every process."""
    values = tiny_run(data, stage(data, **({"train": tuners} if tuners else {})))
    values["model"] |= {"llm": llm} if llm else {}
    run = load(RunConfig, values)
    stages = open_stages(run)
    model = build_model(run.model, texts=lambda: texts(stages), seed=3)
    tools = model.tools(stages[0].template)
    objective = stages[0].objective
    if tuners:
        torch.manual_seed(5)  # LoRA draws
        apply_tuners(model.parts(), run.stages[0].train)
    return Root(model, objective, bf16=False), stages[0].mixture, objective.preparer(tools)


def gradients(
    data: Path,
    mode: Parallelism = "ddp",
    tuners: Tuners | None = None,
    llm: dict[str, Any] | None = None,
) -> tuple[Engine, StepLoader, dict[str, Tensor]]:
    """Every step's loss, gradient norm and gradient, by the engine."""
    root, mixture, preparer = setting(data, tuners, llm)
    parallel = Parallel(threads=1)
    plan = Plan(mixture, samples=SAMPLES, epochs=1, shuffle=False)
    loader = StepLoader(
        plan, mixture, preparer, rank=parallel.rank, world=parallel.world, micro_samples=2
    )
    optimizer = build_optimizer(
        [ParameterGroup("all", {n: p for n, p in root.named_parameters() if p.requires_grad})],
        OptimizerConfig(lr=1e-30),
    )
    seen: dict[str, Tensor] = {}
    now: dict[str, Any] = {}
    engine = Engine(
        root,
        optimizer,
        parallel,
        name="align",
        clip=None,
        seed=0,
        spare=lambda: preparer.collate([preparer.prepare(mixture[0])]),
        mode=mode,
    )

    def remember(*_: Any) -> None:
        grads = {n: p.grad for n, p in engine.learning.items()}
        for name, grad in engine.shared.whole(grads).items():
            seen[f"{now['step']}/{name}"] = grad.clone()

    optimizer.register_step_pre_hook(remember)
    for step in loader:
        now["step"] = step.step
        sizes = [len(batch.samples) for batch in step.batches]
        images = sum(batch.num_images for batch in step.batches)
        print(f"rank {parallel.rank} step {step.step} samples {sizes} images {images}", flush=True)
        result = engine.step(step.step, step.batches, lambda: [])
        seen[f"{step.step}/loss"] = torch.tensor(result.loss, dtype=torch.float64)
        seen[f"{step.step}/norm"] = torch.tensor(result.grad_norm, dtype=torch.float64)
    return engine, loader, seen


def poison(engine: Engine, loader: StepLoader) -> str:
    """What the engine says of a loss that is not a number on the second process alone."""
    if engine.parallel.rank == 1:
        engine.root.objective.register_forward_hook(
            lambda module, inputs, loss: Loss(loss.sum * torch.nan, loss.weight)
        )
    before = [p.clone() for p in engine.learning.values()]
    try:
        engine.step(0, loader.load(0).batches, lambda: [])
    except NonFiniteLoss as error:
        same = all(map(torch.equal, before, engine.learning.values()))
        return f"{error} {'unmoved' if same else 'moved'}"
    return "nothing"


if __name__ == "__main__":
    data, out, mode, who, *more = sys.argv[1:]
    llm = json.loads(more[0]) if more else None
    found: dict[str, Tensor] = {}
    for number, tuners in enumerate(json.loads(who)):
        made, steps, values = gradients(Path(data), mode, tuners, llm)
        found |= {f"{number}/{name}": value for name, value in values.items()}
    if made.parallel.is_main:
        save_file(found, out)
    # In one piece: two processes write into one pipe.
    sys.stdout.write(f"rank {made.parallel.rank} says {poison(made, steps)}\n")
    sys.stdout.flush()
    made.close()
