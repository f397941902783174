"""A synthesis' folder: which files are in it, and writing them so that they are whole or not there.

config.yaml       the resolved configuration
journal.sqlite    every call and what came back
samples.jsonl     the dataset, as LLaVA has it, with kind and provenance
rejected.jsonl    what became no sample, and why
report.json, report.html
shard-2-of-8/     journal of a part that is asked for elsewhere; `merge` takes it in
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from isthmus.core.config import dump, load, read
from isthmus.core.contracts import Config
from isthmus.errors import InputError
from isthmus.synthesize.config import SynthesisConfig

CONFIG, JOURNAL = "config.yaml", "journal.sqlite"
SAMPLES, REJECTED = "samples.jsonl", "rejected.jsonl"
REPORT, PAGE = "report.json", "report.html"
SHARDS = "shard-*-of-*"


def line_of(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON, for those too who end lines where Unicode does."""
    text = json.dumps(row, ensure_ascii=False)
    for mark in ("\x85", "\u2028", "\u2029"):
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return f"{text}\n"


@contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """A text file that takes its place when it is whole, and on the disk, and not before."""
    part = path.with_name(f"{path.name}.part")
    try:
        stream = part.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def save_config(config: Config, folder: Path) -> None:
    """Write the resolved configuration into a folder, which is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}") from None
    with written(folder / CONFIG) as stream:
        stream.write(dump(config))


def load_config(folder: Path) -> SynthesisConfig:
    """The configuration of a folder, wherever that lies by now. Raises InputError."""
    file = folder / CONFIG
    if not file.is_file():
        raise InputError(
            f"{folder}: no synthesis is in it (no {CONFIG}); give a folder that "
            "`isthmus synthesize CONFIG.yaml` wrote"
        )
    if "captioner" in read(file).values:
        raise InputError(
            f"{folder}: captions were written and filtered here, and `isthmus synthesize capfilt "
            f"{file} --out {folder}` does all that can be done with it"
        )
    return load(SynthesisConfig, file).model_copy(update={"out": folder})
