"""CapFilt from its beginning to its report; what was interrupted, or split, goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isthmus.core.chat import Call, Journal, take
from isthmus.core.chat.call import ANSWERED
from isthmus.core.config import check
from isthmus.synthesize.capfilt.config import CapFiltConfig
from isthmus.synthesize.capfilt.dataset import Dataset, Tally
from isthmus.synthesize.capfilt.pairs import Pairs
from isthmus.synthesize.capfilt.work import Found, Models
from isthmus.synthesize.folder import (
    JOURNAL,
    REJECTED,
    REPORT,
    SAMPLES,
    SHARDS,
    line_of,
    save_config,
    written,
)
from isthmus.synthesize.plan import Shard

Bar = Callable[[int], AbstractContextManager[Callable[[int, str], None]]]
"""How many pictures there are to do -> what is told of each block how many it had."""


@dataclass(frozen=True)
class Outcome:
    """Where everything is, and what was counted: nothing in a shard."""

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> Path:
        """The dataset."""
        return self.folder / SAMPLES


@contextmanager
def silent(total: int) -> Iterator[Callable[[int, str], None]]:
    """No progress bar."""
    yield lambda count, at: None


def capfilt(
    config: CapFiltConfig,
    *,
    shard: Shard | None = None,
    device: str | None = None,
    bar: Bar = silent,
) -> Outcome:
    """Let both models see what the journal has nothing of, then make the dataset. A shard is only
    looked at, into a folder of its own; the whole takes in what shards have found.

    Raises InputError for data and models that cannot be used, before any weight is read.
    """
    check(config)
    part = shard or Shard()
    pairs, models = Pairs(config), Models(config)
    folder = config.out if part.whole else config.out / f"shard-{part.number}-of-{part.of}"
    save_config(config, folder)
    with Journal(folder / JOURNAL) as journal:
        if part.whole:
            _take_shards(journal, config.out)
        _work(journal, pairs, models, part, device, bar)
        notes = (*models.notes, *journal.notes)
        if not part.whole:
            return Outcome(folder, notes=notes)
        return Outcome(config.out, _derive(journal, pairs, models, config), notes)


def _take_shards(journal: Journal, folder: Path) -> None:
    for path in sorted(folder.glob(f"{SHARDS}/{JOURNAL}")):
        with Journal(path, read_only=True) as other:
            take(journal, other)


def _work(
    journal: Journal, pairs: Pairs, models: Models, part: Shard, device: str | None, bar: Bar
) -> None:
    """Look at every block of the shard that the journal has nothing of."""
    keys = {number: models.key(pairs.block(number)) for number in pairs.numbers(part)}
    still = [number for number, key in keys.items() if _recalled(journal, key) is None]
    if not still:
        return
    worker = models.load(device)
    with bar(sum(pairs.size(number) for number in still)) as advance:
        for number in still:
            began, start = datetime.now(UTC), time.monotonic()
            found = worker(pairs.block(number))
            call = Call(
                key=keys[number],
                request=f"block {number}",
                asked=models.identity["captioner"]["model"],
                ending=ANSWERED,
                seconds=time.monotonic() - start,
                began=began.isoformat(timespec="seconds"),
                raw=json.dumps([each.plain() for each in found]).encode(),
            )
            journal.write([call])
            advance(len(found), "")


def _recalled(journal: Journal, key: str) -> list[Found] | None:
    """What the journal has of a block."""
    raw = next(journal.replies(key), None)
    return None if raw is None else [Found(**each) for each in json.loads(raw)]


def _derive(
    journal: Journal, pairs: Pairs, models: Models, config: CapFiltConfig
) -> dict[str, Any]:
    """Write samples.jsonl, rejected.jsonl and report.json of what the journal has."""
    dataset, tally = Dataset(models.identity, config.filter.threshold), Tally()
    with (
        written(config.out / SAMPLES) as samples,
        written(config.out / REJECTED) as rejected,
    ):
        for number in range(pairs.blocks):
            block = pairs.block(number)
            found = _recalled(journal, models.key(block)) or []
            for pair, each in zip(block, found, strict=True):
                rows = list(dataset.rows(pair, each))
                tally.count(rows)
                for keep, row in rows:
                    (samples if keep else rejected).write(line_of(row))
    summary = tally.summary() | models.identity | {"threshold": config.filter.threshold}
    with written(config.out / REPORT) as stream:
        stream.write(json.dumps(summary, indent=2) + "\n")
    return summary
