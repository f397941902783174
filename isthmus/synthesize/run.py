"""A synthesis from its beginning to its report, and making the dataset again from the journal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.core.chat import Journal, Watcher, ask, take
from isthmus.core.config import check
from isthmus.errors import InputError
from isthmus.synthesize.config import SynthesisConfig
from isthmus.synthesize.dataset import Dataset, Tally
from isthmus.synthesize.folder import (
    JOURNAL,
    REJECTED,
    SAMPLES,
    SHARDS,
    line_of,
    load_config,
    save_config,
    written,
)
from isthmus.synthesize.plan import Plan, Shard
from isthmus.synthesize.report import Report, write_report
from isthmus.synthesize.scenes import open_scenes


@dataclass(frozen=True)
class Outcome:
    """Where everything is, and what was counted."""

    folder: Path
    tally: Tally = field(default_factory=Tally)
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> Path:
        """The dataset."""
        return self.folder / SAMPLES


def synthesize(
    config: SynthesisConfig, *, shard: Shard | None = None, watch: Watcher | None = None
) -> Outcome:
    """Ask for what the journal has not, then make the dataset. A shard is only asked for, into a
    folder of its own.

    Raises what `isthmus.core.chat.ask` raises; every reply is kept, and the same call goes on.
    """
    check(config)
    part = shard or Shard()
    plan = Plan(config, open_scenes(config.scenes))
    save_config(config, config.out)
    folder = config.out if part.whole else config.out / f"shard-{part.number}-of-{part.of}"
    model = config.teacher.build()
    requests = (job.request(model, config) for job in plan.jobs(part))
    asked = (request for request in requests if request is not None)
    with Journal(folder / JOURNAL) as journal:
        notes = list(journal.notes)
        total = plan.count(part)
        for _ in ask(model, asked, journal, config.ask, watch=watch, total=total):
            pass
    if not part.whole:
        return Outcome(folder, notes=tuple(notes))
    made = derive(config, plan)
    return Outcome(config.out, made.tally, (*notes, *made.notes))


def derive(config: SynthesisConfig, plan: Plan | None = None) -> Outcome:
    """Make samples.jsonl, rejected.jsonl and the report of what the journal has. Asks nobody."""
    plan = plan or Plan(config, open_scenes(config.scenes))
    dataset = Dataset(config, plan, config.teacher.build())
    tally, report = Tally(), Report(config)
    path = config.out / JOURNAL
    if not path.exists():
        raise InputError(f"{path}: there is no journal; run `isthmus synthesize CONFIG.yaml` first")
    with (
        Journal(path, read_only=True) as journal,
        written(config.out / SAMPLES) as samples,
        written(config.out / REJECTED) as rejected,
    ):
        for made in dataset.make(journal):
            tally.count(made)
            report.add(made)
            if made.row is not None:
                samples.write(line_of(made.row))
            else:
                row = {"id": made.job.id, "kind": made.job.recipe.name, "reason": made.reason}
                rejected.write(json.dumps(row | {"message": made.message}) + "\n")
        write_report(report, tally, journal, plan)
    fixed = (f"{count} {what}" for what, count in plan.scenes.fixed.items())
    return Outcome(config.out, tally, tuple(fixed))


def merge(folder: Path) -> Outcome:
    """Take the journals of all shards into the folder's own, and make the dataset.

    What is there already is not taken twice, so that merging again after more shards is right.
    """
    config = load_config(folder)
    found = sorted(path for path in folder.glob(f"{SHARDS}/{JOURNAL}"))
    if not found:
        raise InputError(f"{folder}: no shard is in it ({SHARDS}/{JOURNAL})")
    with Journal(folder / JOURNAL) as journal:
        for path in found:
            with Journal(path, read_only=True) as part:
                take(journal, part)
    return derive(config)
