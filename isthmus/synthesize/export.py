"""The dataset in the forms that trainers read: LLaVA's JSON, chat messages, a Parquet table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isthmus.core.data.rows import read_rows
from isthmus.errors import InputError, did_you_mean
from isthmus.synthesize.folder import SAMPLES, line_of, written

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
    rows = [row for row, _ in read_rows(file)] if file.stat().st_size else []
    FORMATS[form](rows, out)
    return len(rows)


def as_messages(row: dict[str, Any]) -> dict[str, Any]:
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


def _llava(rows: list[dict[str, Any]], out: Path) -> None:
    with written(out) as stream:
        kept = [{key: row[key] for key in KEPT} for row in rows]
        stream.write(json.dumps(kept, ensure_ascii=False, indent=1) + "\n")


def _messages(rows: list[dict[str, Any]], out: Path) -> None:
    with written(out) as stream:
        for row in rows:
            stream.write(line_of(as_messages(row)))


def _parquet(rows: list[dict[str, Any]], out: Path) -> None:
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
    part = out.with_name(f"{out.name}.part")
    with pq.ParquetWriter(part, schema) as writer:
        for batch in _batches(rows):
            flat = [{**row, "provenance": json.dumps(row["provenance"])} for row in batch]
            writer.write_table(pa.Table.from_pylist(flat, schema=schema))
    part.replace(out)


def _batches(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    yield from (rows[first : first + BATCH] for first in range(0, len(rows), BATCH))


FORMATS: dict[str, Callable[[list[dict[str, Any]], Path], None]] = {
    "llava": _llava,
    "messages": _messages,
    "parquet": _parquet,
}
"""Name of a form -> what writes it."""
