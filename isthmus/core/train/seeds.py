"""Where randomness comes from: every draw of a run is seeded from where it happens.

Restoring generator states is not enough for an exact resume (a new data loader draws from
the global generator), so no state is ever saved: a micro-batch seeds the generators from
(run seed, stage, step, micro-batch, rank), and draws the same numbers whenever it runs.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *path: int | str) -> int:
    """A seed below 2**63 for one place of a run: equal for equal arguments, on any machine."""
    words = "/".join(str(word) for word in (seed, *path))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest()) >> 1


def seed_draws(seed: int) -> None:
    """Seed Python's and torch's generators, on every device."""
    random.seed(seed)
    if _accelerated():
        torch.manual_seed(seed)
    else:
        # The same numbers; torch would also keep a traceback for each kind of device that might
        # still turn up, which takes longer than all else that the engine does in a step.
        torch.default_generator.manual_seed(seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside, the generators go on afterwards as if nothing had been."""
    plain, array = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(array)


@functools.cache
def _accelerated() -> bool:
    return torch.accelerator.is_available()
