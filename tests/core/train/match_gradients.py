"""A program for test_match_ranks: a few steps on matches whose gradients are written down.

    python -m tests.core.train.match_gradients DATA OUT MODE

Started alone or by torchrun; the main process writes OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from isthmus.core.config import load
from isthmus.core.contracts import ParameterGroup
from isthmus.core.data.loader import StepLoader
from isthmus.core.data.plan import Plan
from isthmus.core.model.build import build_model
from isthmus.core.train.config import OptimizerConfig, Parallelism, RunConfig
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.opening import open_stages, texts
from isthmus.core.train.optimizer import build_optimizer
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.setup import spare_batch
from tests.core.train.tiny import CLIP, SHAPE, stage, tiny_run

SAMPLES = 5
"""Samples in a step: three and two of them on two processes, and one and none in the last."""
TOKENIZER = {"vocab_size": 300}
TOWERS = {
    "encoder": CLIP,
    "text_encoder": {
        "type": "clip",
        "config": SHAPE | {"max_position_embeddings": 24},
        "tokenizer": TOKENIZER,
    },
}
QFORMER = {
    "type": "qformer",
    **{"queries": 3, "dim": 16, "layers": 2, "heads": 2, "hidden": 24, "positions": 24},
    **{"dropout": 0.0, "text": "objective", "tokenizer": TOKENIZER},
}
FORMER = {"encoder": CLIP, "connector": QFORMER}
BERT = {
    **{"dim": 16, "layers": 2, "heads": 2, "hidden": 24, "positions": 24},
    **{"dropout": 0.0, "tokenizer": TOKENIZER},
}
BLIP = {"encoder": CLIP, "llm": {"type": "med", **BERT}}
ALBEF = {
    "encoder": CLIP,
    "text_encoder": {"type": "bert", "cross": True, "alone": 1, **BERT},
}
MIX = [{"type": "itc", "dim": 8}, {"type": "itm"}, {"type": "itg", "weight": 0.5}]
MOMENTUM = [*MIX[:2], {"type": "mlm", "share": 0.4}]
MOVES = OptimizerConfig(lr=0.05, eps=1.0)
"""Of copies, so that they have something to follow: without a small number's sign deciding."""
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": (TOWERS, {"type": "clip", "dim": 8}),
    "siglip": (TOWERS, {"type": "siglip", "dim": 8}),
    "mix": (FORMER, {"type": "mix", "of": MIX}),
    "blip": (BLIP, {"type": "mix", "of": MIX}),
    "matching": (BLIP, {"type": "itm"}),
    "albef": (ALBEF, {"type": "mix", "of": MOMENTUM, "momentum": {"rate": 0.5, "queue": 10}}),
}


def gradients(data: Path, mode: Parallelism, case: str, parallel: Parallel) -> dict[str, Tensor]:
    """Every step's loss, metrics and gradient, by the engine."""
    model, objective = CASES[case]
    train = dict.fromkeys(model, "full")
    run = load(
        RunConfig, tiny_run(data, stage(data, train=train, objective=objective), model=model)
    )
    stages = open_stages(run)
    built = build_model(run.model, texts=lambda: texts(stages), seed=3)
    learnt = stages[0].objective
    torch.manual_seed(4)
    learnt.join(built)
    root, mixture = Root(built, learnt, bf16=False), stages[0].mixture
    preparer = learnt.preparer(built.tools())
    plan = Plan(mixture, samples=SAMPLES, epochs=1, shuffle=False)
    loader = StepLoader(plan, mixture, preparer, rank=parallel.rank, world=parallel.world)
    everything = dict(root.named_parameters())
    moves = MOVES if "momentum" in objective else OptimizerConfig(lr=1e-30)
    optimizer = build_optimizer([ParameterGroup("all", everything)], moves)
    engine = Engine(
        root,
        optimizer,
        parallel,
        name=case,
        clip=None,
        seed=0,
        spare=lambda: spare_batch(mixture, preparer),
        mode=mode,
    )
    found: dict[str, Tensor] = {}
    now: dict[str, int] = {}

    def remember(*_: Any) -> None:
        grads = {n: p.grad for n, p in engine.learning.items()}
        for name, grad in engine.shared.whole(grads).items():
            found[f"{case}/{now['step']}/{name}"] = grad.clone()

    optimizer.register_step_pre_hook(remember)
    for step in loader:
        now["step"] = step.step
        result = engine.step(step.step, step.batches, lambda: [])
        for name, value in {"loss": result.loss, **result.metrics}.items():
            found[f"{case}/{step.step}/{name}"] = torch.tensor(value)
    for name, tensor in (engine.shared.state(learnt) or learnt.state_dict()).items():
        if name.startswith("momentum.") and "queue" not in name:
            found[f"{case}/end/{name}"] = tensor.clone()
    engine.close()
    return found


if __name__ == "__main__":
    folder, out, shared = sys.argv[1:]
    mode: Any = shared
    processes = Parallel(threads=1)
    seen: dict[str, Tensor] = {}
    for each in CASES:
        seen |= gradients(Path(folder), mode, each, processes)
    if processes.is_main:
        save_file(seen, out)
