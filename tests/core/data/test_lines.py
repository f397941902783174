"""Records read line by line: the same ones as an index of the file gives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from isthmus.core.data.lines import Lines
from isthmus.core.data.records import Records
from isthmus.errors import DataError
from isthmus.plugins.sources.llava import Llava

RECORDS = [
    {
        "id": f"r{number}",
        "conversations": [
            {"from": "human", "value": "Who?"},
            {"from": "gpt", "value": "Ada \N{SNOWMAN} " * number + "."},
        ],
    }
    for number in range(7)
]
TEXT = "\ufeff" + "\n\n".join(json.dumps(record) for record in RECORDS) + "\n"


@pytest.fixture(params=["plain.jsonl", "packed.jsonl.gz"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    content = TEXT.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_lines_are_the_records_of_the_indexed_file(file: Path, tmp_path: Path):
    indexed = (
        Records(tmp_path / "plain.jsonl", None, lambda *_: None) if "gz" not in file.name else None
    )
    found = list(Lines(file, None).read())
    assert [record for record, _ in found] == RECORDS
    if indexed:
        assert [origin for _, origin in found] == [indexed.origin(i) for i in range(7)]
    assert found[1][1] == f"{file}, line 3"


def test_skipping_and_limiting_cut_the_same_sequence(file: Path):
    whole = list(Lines(file, None).read())
    for skip in range(9):
        assert list(Lines(file, None).read(skip)) == whole[skip:]
        assert list(Lines(file, 4).read(skip)) == whole[skip:4]


def test_fingerprint_changes_with_the_file(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(TEXT)
    before = Lines(path, None).fingerprint
    assert Lines(path, None).fingerprint == before != Lines(path, 3).fingerprint
    path.write_text(TEXT.replace("Who?", "Why?"))
    assert Lines(path, None).fingerprint != before


def test_what_cannot_be_read_is_named(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(DataError, match=r"a\.jsonl: there is no such file"):
        Lines(path, None)
    path.write_text(" [1, 2]")
    with pytest.raises(DataError, match=r"cannot be read line by line.*leave out `stream`"):
        Lines(path, None)
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: not JSON"):
        list(Lines(path, None).read())
    path.write_text("\n 7\n")
    with pytest.raises(DataError, match=r"line 2: a record is a JSON object"):
        list(Lines(path, None).read())
    path.write_text("\n")
    with pytest.raises(DataError, match="no record in it"):
        list(Lines(path, None).read())
    cut = tmp_path / "a.jsonl.gz"
    cut.write_bytes(gzip.compress(TEXT.encode())[:-9])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: cannot be read"):
        list(Lines(cut, None).read())
    cut.write_text(TEXT)
    with pytest.raises(DataError, match="cannot be read"):
        list(Lines(cut, None).read())


def test_streamed_conversations_are_those_of_the_indexed_source(file: Path, tmp_path: Path):
    plain = tmp_path / "whole.jsonl"
    plain.write_text(TEXT)
    indexed = Llava.Config(file=plain).build()
    streamed = Llava.Config(file=file, stream=True).build()
    assert streamed.streams
    assert not indexed.streams
    wanted = [(sample.id, sample.turns) for sample in indexed.stream(2)]
    assert [(sample.id, sample.turns) for sample in streamed.stream(2)] == wanted
    assert list(streamed.texts()) == list(indexed.texts())
    assert streamed.fingerprint != Llava.Config(file=file, stream=True, limit=2).build().fingerprint


def test_wrong_first_record_is_found_when_the_stream_is_opened(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "x"}\n')
    with pytest.raises(DataError, match=r"line 1: `conversations` is a list"):
        Llava.Config(file=path, stream=True).build()
