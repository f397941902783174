"""The same step at the size of real models, on a GPU: tokens a second, MFU, peak memory.

MFU counts what the mathematics takes (`isthmus.core.train.flops`), the same for everyone: who
executes padding is not paid for it. It is given against the maker's figure and against what a
large matrix product reaches on this very device.
"""

from __future__ import annotations

import gc
import sys
import time

import torch

from benchmarks.contenders import Models, contenders
from benchmarks.contest import Task
from benchmarks.engine import Isthmus
from benchmarks.models import PRESETS as ALL
from benchmarks.samples import draw
from benchmarks.trainers import HuggingFace
from isthmus.core.train.operations import flop_model
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.peaks import peak

PRESETS = ("0.5b", "7b")


def product_peak(device: torch.device, size: int = 8192, turns: int = 20) -> float:
    """Operations a second of a bf16 matrix product, the best of some turns."""
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(turns):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        one @ other
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


def report(name: str, stage: int, repeats: int) -> None:
    """Print a line for isthmus, and for HF's Trainer padded, length-grouped and, as LLaVA's
    scripts have it, with activations computed again."""
    if not torch.cuda.is_available():
        sys.exit(f"--preset {name} needs a GPU; without one, leave it out")
    parallel = Parallel()
    device, preset = parallel.device, ALL[name]
    task = Task(preset, draw(preset), stage, device, bf16=True)
    models = Models(task)
    spec, measured = peak(device, bf16=True), product_peak(device)
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}; bf16, stage {stage}")
    print(f"{len(task.drawn)} samples, {task.tokens:,} tokens; packs of {task.pack:,}")
    print(f"peak: {spec and spec / 1e12} TFLOP/s by the maker, {measured / 1e12:.0f} measured")
    work = _work(models, parallel)
    made = contenders(models, parallel)
    again = {"gradient_checkpointing": True}
    made.append(lambda: HuggingFace(task, models.theirs, "HF Trainer, checkpointing", **again))
    for make in (made[-2], made[0], made[1], made[-1]):
        models.rest()
        contender = make()
        if isinstance(contender, HuggingFace):
            contender.model.to(device)
        contender.step()
        torch.cuda.reset_peak_memory_stats()
        seconds = min(contender.step().seconds for _ in range(repeats))
        reached = work / seconds
        share = f"{reached / spec:.1%} of spec, " if spec else ""
        print(
            f"{contender.name:<30} {task.tokens / seconds:>10,.0f} tokens/s  MFU {share}"
            f"{reached / measured:.1%} of measured  "
            f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB",
            flush=True,
        )
        del contender
        gc.collect()
        torch.cuda.empty_cache()


def _work(models: Models, parallel: Parallel) -> float:
    """FLOPs of a step."""
    counted = flop_model(models.ours, bf16=True)
    batches = Isthmus(models.task, models.ours, parallel).loader.load(0).batches
    return (counted.step(batches) if counted else None) or 0.0
