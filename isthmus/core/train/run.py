"""A run, from a configuration to its last checkpoint: the table of contents of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from isthmus.core.checkpoint import Writer, settle
from isthmus.core.config import dump, load, parse
from isthmus.core.contracts import EventList, Events
from isthmus.core.lock import folder_lock
from isthmus.core.model.build import build_model
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.config import RunConfig
from isthmus.core.train.evaluating import check_evaluation
from isthmus.core.train.features import check_transform
from isthmus.core.train.history import History
from isthmus.core.train.lines import LineFile
from isthmus.core.train.opening import OpenStage, needed_parts, open_stages, texts
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.progress import LEDGER, SKIPPED, MetricsFile, Trackers, steps_over
from isthmus.core.train.rehearsal import rehearse
from isthmus.core.train.session import Session
from isthmus.core.train.signals import stop_on_signals
from isthmus.core.train.stage import Stage
from isthmus.core.train.start import Start, claim, find_start
from isthmus.core.train.tuning import set_precision
from isthmus.core.train.warm_start import WarmStart


def run(
    config: RunConfig | Path | str | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    events: Events | None = None,
    resume: bool = False,
) -> Path:
    """Train a model stage by stage; returns the folder of the last checkpoint.

    `config` is a YAML file, a mapping as YAML would give it, or a RunConfig; `overrides` are
    those of `--set`. `resume` goes on from the newest whole checkpoint in the run's folder,
    or starts when there is none. `events` hear the run on the main process, and evaluate it.

    Raises InputError before anything is loaded or written, when the input is wrong; WorkError
    when the work fails; Interrupted, after saving, when SIGTERM or Ctrl-C asked it to stop.
    """
    settings = _typed(config, overrides)
    parallel = Parallel(settings.threads)
    parallel.on_main(lambda: check_evaluation(settings, parallel, events))
    stages = parallel.main_first(lambda: open_stages(settings))
    with ExitStack() as until_done:
        lock = until_done.enter_context(folder_lock(settings.out))
        start = find_start(settings, stages, parallel, resume, lock)
        if start.checkpoint and start.index == len(stages):
            last = start.checkpoint.folder
            parallel.on_main(lambda: settle(last))
            return last
        warm = WarmStart(settings)
        model, history = parallel.main_first(lambda: _model(settings, stages, start, warm))
        check_transform(settings, model)
        parallel.on_main(lambda: rehearse(model, stages[start.index :]))
        parallel.on_main(lambda: claim(settings, lock))
        done = start.done(stages)
        heard = _listeners(settings, done, parallel, events, until_done)
        left_out = LineFile(settings.out / SKIPPED, done) if parallel.is_main else None
        stop = until_done.enter_context(stop_on_signals())
        writer = until_done.enter_context(closing(Writer()))
        told = heard, left_out, stop, writer
        session = Session(settings, parallel, model, history, *told, start.notes)
        if start.checkpoint and not start.under_way:
            learnt = stages[start.index - 1].objective.name, start.checkpoint.objective()
            session.heads = learnt
        if settings.ledger and parallel.is_main:
            session.ledger = LineFile(settings.out / LEDGER, done)
        under_way = start.under_way
        for stage in stages[start.index :]:
            _take_in(session, stages, stage.index, warm)
            folder = Stage(session, stage, under_way).train()
            under_way = None
    return folder


def _typed(
    config: RunConfig | Path | str | Mapping[str, Any], overrides: Sequence[str]
) -> RunConfig:
    if not isinstance(config, RunConfig):
        return load(RunConfig, config, overrides)
    if overrides:
        return load(RunConfig, parse(dump(config)).values, overrides)
    return config


def _model(
    settings: RunConfig, stages: Sequence[OpenStage], start: Start, warm: WarmStart
) -> tuple[VisionLanguageModel, History]:
    """The model as the run finds it: just built, with what its first stage needs, or as its
    checkpoint left it."""
    if start.checkpoint:
        model, history = start.checkpoint.model(), History.resume(start.checkpoint)
        parts = model.parts()
        # What is referenced comes back as it was published, not as earlier stages had rounded it.
        set_precision(parts, settings.precision == "bf16", history.learnt(parts))
        return model, history
    model = _built(settings, stages, warm, needed_parts(settings, stages[:1]))
    history = History.begin(model.parts(), settings.model)
    history.changed |= warm.fill(model, model.parts())
    return model, history


def _built(
    settings: RunConfig,
    stages: Sequence[OpenStage],
    warm: WarmStart,
    only: set[str],
    model: VisionLanguageModel | None = None,
) -> VisionLanguageModel:
    """These parts, built or in the model already."""
    return build_model(
        settings.model,
        tokenizers=warm.tokenizers,
        texts=lambda: texts(stages),
        seed=settings.seed,
        only=only,
        model=model,
    )


def _take_in(session: Session, stages: Sequence[OpenStage], index: int, warm: WarmStart) -> None:
    """Load what stage `index` needs and no stage before it did: BLIP-2 learns to represent
    pictures without the LLM that it then speaks through."""
    settings, model = session.settings, session.model
    before = model.parts()
    needed = needed_parts(settings, stages[: index + 1])
    if needed <= before.keys():
        return
    session.parallel.main_first(lambda: _built(settings, stages, warm, needed, model))
    new = {name: part for name, part in model.parts().items() if name not in before}
    session.history.hashes |= History.begin(new, settings.model).hashes
    session.history.changed |= warm.fill(model, new)


def _listeners(
    settings: RunConfig,
    done: Mapping[str, float],
    parallel: Parallel,
    events: Events | None,
    until_done: ExitStack,
) -> Events:
    """Who hears of the run: its files, its trackers, the caller; on the main process."""
    if not parallel.is_main:
        return Events()
    heard: list[Events] = [MetricsFile(settings.out, done)]
    if settings.trackers:
        trackers = parallel.start_trackers(settings.trackers, settings.out, {"run": dump(settings)})
        before = steps_over(settings.out, done)
        heard.append(until_done.enter_context(closing(Trackers(trackers, before))))
    return EventList([*heard, *([events] if events else [])])
