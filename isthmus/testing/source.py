"""Does a source keep its contract (`isthmus.core.contracts.source`)?"""

from __future__ import annotations

from itertools import islice

from isthmus.core.contracts import Sample, Source
from isthmus.testing.promises import build, check_config, in_worker, promise

SAMPLES = 20
"""Samples that are looked at, from the first on."""


def check_source(config: Source.Config, changed: Source.Config | None = None) -> None:
    """Open the source and try every promise on its first samples. Raises ContractBroken.

    `changed` is a configuration with which it gives other records, for example another file.
    """
    check_config(config)
    source: Source = build(config)
    name = type(source).__qualname__
    promise(bool(_samples(source)), f"{name}: the kit needs a source with samples in it")
    promise(
        source.weight == config.weight, f"{name}.weight: it must be the configuration's `weight`"
    )
    samples = _samples(source)
    for number, sample in enumerate(samples):
        _check_sample(f"{name}[{number}]", sample)
    _check_same(name, source, samples, "asked twice")
    _check_same(name, in_worker(source), samples, "in a data worker")
    _check_same(name, build(config, seed=1), samples, "opened again")
    promise(
        list(islice(source.stream(1), SAMPLES - 1)) == samples[1:],
        f"{name}.stream: it gives the same samples in order, but for those to skip",
    )
    words = [turn.text for sample in samples for turn in sample.turns]
    promise(
        list(islice(source.texts(), len(words))) == words,
        f"{name}.texts: it gives every turn's words, in order",
    )
    if changed is not None:
        promise(
            build(changed).fingerprint != source.fingerprint,
            f"{name}.fingerprint: other records have the same one, so a run would be resumed on "
            "other data",
        )


def _samples(source: Source) -> list[Sample]:
    if source.streams:
        return list(islice(source.stream(), SAMPLES))
    return [source[number] for number in range(min(len(source), SAMPLES))]


def _check_sample(where: str, sample: Sample) -> None:
    promise(isinstance(sample, Sample), f"{where}: a source gives Samples, not {sample!r:.60}")
    promise(isinstance(sample.id, str), f"{where}: `id` is a string, not {sample.id!r}")
    promise(bool(sample.origin), f"{where}: `origin` says where the record stands, for messages")
    promise(bool(sample.turns), f"{where}: a conversation has turns")
    slots = sorted(slot.index for slot in sample.slots)
    promise(
        slots == list(range(len(sample.images))),
        f"{where}: {len(sample.images)} images have each one slot in the turns, numbered from 0; "
        f"the slots are {slots}",
    )
    late = [turn.role for turn in islice(sample.turns, 1, None)]
    promise("system" not in late, f"{where}: a system turn stands first or nowhere")


def _check_same(name: str, source: Source, samples: list[Sample], when: str) -> None:
    promise(
        _samples(source) == samples,
        f"{name}: {when}, it gives other samples; an epoch's order and resuming trust them",
    )
