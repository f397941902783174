"""Peak memory of a step at a vocabulary of 152 thousand, equal tokens: HF padded and isthmus.

    python -m benchmarks.memory

Each runs in a process of its own, whose largest resident size is read at the end; what Python
and its libraries take before a model is built is subtracted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.contenders import Models, contenders
from benchmarks.contest import Task
from benchmarks.models import PRESETS
from benchmarks.samples import draw
from isthmus.core.train.parallel import Parallel

WHO = {"HF Trainer, random padding": 0, "isthmus": -1}


def peak_bytes() -> int:
    """Of this process, on Linux; `ru_maxrss` would begin at what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) * 1024


def one(which: int) -> int:
    """Bytes that a step of this contender takes at its peak, weights and optimizer included."""
    from transformers import LlavaForConditionalGeneration, Trainer

    del LlavaForConditionalGeneration, Trainer  # imported here, so that they count as before
    parallel = Parallel(threads=1)
    before = peak_bytes()
    preset = PRESETS["vocabulary"]
    models = Models(Task(preset, draw(preset), stage=2, device=parallel.device))
    contender = contenders(models, parallel)[which]()
    if which == 0:
        del models.ours
    contender.step()
    return peak_bytes() - before


def report() -> list[str]:
    """Lines."""
    taken = {}
    for name, which in WHO.items():
        command = [sys.executable, "-m", "benchmarks.memory", str(which)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        taken[name] = int(done.stdout.split()[-1])
    hf, ours = taken.values()
    lines = [f"{name}: {taken[name] / 2**20:,.0f} MiB" for name in taken]
    return [*lines, f"isthmus / HF: {ours / hf:.2f} (must 0.6, aim 0.4)"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\n".join(report()) if len(sys.argv) == 1 else one(int(sys.argv[1])))
