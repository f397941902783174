"""Proof of a dataset: every sample made again from journal, scenes and recipes, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from isthmus.core.chat import Journal
from isthmus.errors import DataError
from isthmus.synthesize.dataset import Dataset
from isthmus.synthesize.folder import JOURNAL, SAMPLES, line_of, load_config
from isthmus.synthesize.plan import Plan
from isthmus.synthesize.scenes import open_scenes

SHOWN = 10


def verify(folder: Path) -> int:
    """How many samples are as their provenance says. Raises DataError naming those that are not:
    words, hashes or order changed, samples missing or added, other scenes, recipes or replies."""
    config = load_config(folder)
    file = folder / SAMPLES
    found = _rows(file)
    plan = Plan(config, open_scenes(config.scenes))
    dataset = Dataset(config, plan, config.teacher.build())
    wrong: list[str] = []
    with Journal(folder / JOURNAL, read_only=True) as journal:
        made = (each.row for each in dataset.make(journal) if each.row is not None)
        count = 0
        for row in made:
            count += 1
            line, text = next(found, (0, ""))
            if not line:
                wrong.append(f"{row['id']}: missing at the end of the file")
            elif text != line_of(row).rstrip("\n"):
                wrong.append(f"line {line}: {_difference(text, row)}")
            if len(wrong) >= SHOWN:
                break
    if len(wrong) < SHOWN:
        wrong += [f"line {line}: no reply in the journal makes it" for line, _ in found]
    if wrong:
        shown = "\n".join(f"  {each}" for each in wrong[:SHOWN])
        raise DataError(
            f"{file}: not what journal, scenes and recipes make:\n{shown}\n`isthmus synthesize "
            f"report {folder}` makes it again"
        )
    return count


def _rows(file: Path) -> Iterator[tuple[int, str]]:
    """(line number, line), read as they are asked for."""
    try:
        with file.open(encoding="utf-8", newline="\n") as stream:
            for number, line in enumerate(stream, 1):
                if line := line.removesuffix("\n"):
                    yield number, line
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not UTF-8 text") from None


def _difference(text: str, row: dict[str, object]) -> str:
    """Which field of a line is another than it should be."""
    try:
        found = json.loads(text)
        fields = [key for key in row if found.get(key) != row[key]]
        provenance = row["provenance"]
        if fields == ["provenance"] and isinstance(provenance, dict):
            inner = found["provenance"]
            fields = [f"provenance.{k}" for k in provenance if inner.get(k) != provenance[k]]
    except (ValueError, AttributeError):
        return "not JSON"
    what = ", ".join(fields) or "more than there should be"
    return f"{str(found.get('id'))[:60]}: differs in {what}"
