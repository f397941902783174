"""The dataset in the forms that trainers read: LLaVA's JSON, chat messages, a Parquet table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from isthmus.core.data.lines import Lines
from isthmus.errors import InputError, did_you_mean
from isthmus.synthesize.folder import SAMPLES, line_of, written

Row = dict[str, Any]
ROLES = {"human": "user", "gpt": "assistant"}
KEPT = ("id", "image", "conversations")
BATCH = 1000


def export(folder: Path, form: str, out: Path) -> int:
    """Write the samples of a folder to a file; how many. Raises InputError."""
    if form not in FORMATS:
        raise InputError(
            f"--format: there is no {form!r}. Known: {', '.join(FORMATS)}."
            f"{did_you_mean(form, FORMATS)}"
        )
    file = folder / SAMPLES
    if not file.is_file():
        raise InputError(f"{file}: there is no dataset; run `isthmus synthesize` first")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: there is no such folder")
    return FORMATS[form](_rows(file), out)


def _rows(file: Path) -> Iterator[Row]:
    """One after another: a dataset is larger than memory need be."""
    return (row for row, _ in Lines(file, None).read()) if file.stat().st_size else iter(())


def as_messages(row: Row) -> Row:
    """A row as chat messages; an image is a piece of its turn's content."""
    messages = []
    for turn in row["conversations"]:
        before, image, after = turn["value"].partition("<image>")
        pieces: list[dict[str, str]] = [{"type": "text", "text": before.strip()}]
        if image:
            pieces += [{"type": "image"}, {"type": "text", "text": after.strip()}]
        pieces = [piece for piece in pieces if piece.get("text") != ""]
        messages.append({"role": ROLES[turn["from"]], "content": pieces})
    return {"id": row["id"], "images": [row["image"]], "messages": messages}


def _llava(rows: Iterable[Row], out: Path) -> int:
    count = 0
    with written(out) as stream:
        for count, row in enumerate(rows, 1):
            kept = {key: row[key] for key in KEPT}
            text = json.dumps(kept, ensure_ascii=False, indent=1)
            stream.write(f"{'[' if count == 1 else ','}\n{text}")
        stream.write("\n]\n" if count else "[]\n")
    return count


def _messages(rows: Iterable[Row], out: Path) -> int:
    count = 0
    with written(out) as stream:
        for row in rows:
            stream.write(line_of(as_messages(row)))
            count += 1
    return count


def _parquet(rows: Iterable[Row], out: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            "--format parquet needs the library pyarrow: pip install isthmus[parquet]"
        ) from None
    text = pa.string()
    turn = pa.struct([("from", text), ("value", text)])
    schema = pa.schema(
        [("id", text), ("image", text), ("conversations", pa.list_(turn)), ("kind", text),
         ("provenance", text)]
    )  # fmt: skip
    part, count, left = out.with_name(f"{out.name}.part"), 0, iter(rows)
    with pq.ParquetWriter(part, schema) as writer:
        while batch := list(islice(left, BATCH)):
            flat = [{**row, "provenance": json.dumps(row["provenance"])} for row in batch]
            writer.write_table(pa.Table.from_pylist(flat, schema=schema))
            count += len(batch)
    part.replace(out)
    return count


FORMATS: dict[str, Callable[[Iterable[Row], Path], int]] = {
    "llava": _llava,
    "messages": _messages,
    "parquet": _parquet,
}
"""Name of a form -> what writes it, and says how many."""
