"""Work done ahead by data workers, its results in order.

torch's DataLoader does the work; this room says how: workers are never forked from a process
that has threads and locks, a stop signal is for the training process to act on, and an error
comes back as itself instead of as a worker's traceback.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from isthmus.errors import IsthmusError, WorkError

T = TypeVar("T")


def in_order(
    job: Callable[[int], T], numbers: range, workers: int = 0, prefetch: int = 2
) -> Iterator[T]:
    """`job` of every number, in order; `workers` processes are `prefetch` jobs ahead each.

    `job` is picklable. What it raises is raised here, in its turn.
    """
    if workers == 0:
        for number in numbers:
            yield job(number)
        return
    outcomes = _loader(job, numbers, min(workers, max(1, len(numbers))), prefetch)
    try:
        for outcome in outcomes:
            if isinstance(outcome, IsthmusError):
                raise outcome
            yield outcome
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkError(
            "a data worker was killed, most often for want of memory; lower `workers`, or the "
            "samples in a step"
        ) from error


def _loader(job: Callable[[int], Any], numbers: range, workers: int, prefetch: int) -> Any:
    return DataLoader(
        _Jobs(job),
        sampler=numbers,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context=_context(),
        worker_init_fn=_leave_signals,
        # Without its own generator the loader would draw from the run's.
        generator=torch.Generator().manual_seed(0),
    )


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # The server imports torch once; workers forked from it start in no time.
    context.set_forkserver_preload([__name__])
    return context


class _Jobs(Dataset[Any], Generic[T]):
    """A job as torch's workers ask for it; expected errors are results."""

    def __init__(self, job: Callable[[int], T]) -> None:
        self.job = job

    def __getitem__(self, number: int) -> T | IsthmusError:
        try:
            return self.job(number)
        except IsthmusError as error:
            return error


def _as_it_is(outcome: Any) -> Any:
    return outcome


def _leave_signals(worker: int) -> None:
    # Ctrl-C and a cluster's SIGTERM reach every process of the group. Training saves first
    # and ends its workers by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
