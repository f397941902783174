"""The journal: nothing that was written is lost, and nothing that is damaged is believed."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from isthmus.core.chat import Call, Journal, Refusal, take
from isthmus.errors import DataError, InputError, WorkError

WRITES, ROWS = 30, 8


def call(number: int) -> Call:
    raw = f"reply {number} ".encode() * (1 + number % 200)
    return Call(f"key{number}", f"r{number}", "m", "answered", raw=raw, model="m-1")


def filled(path: Path) -> None:
    """A journal of 30 transactions of 8 calls each."""
    with Journal(path) as journal:
        for first in range(0, WRITES * ROWS, ROWS):
            journal.write([call(number) for number in range(first, first + ROWS)])
        journal.write([Refusal("bad", "r-bad", "HTTP 400: no", "{}")])


def killed(path: Path) -> None:
    """The same, by a process that ends without closing it: the log beside it stays."""
    code = (
        "import os, sys; from pathlib import Path; from isthmus.core.chat import Journal;"
        "from tests.core.chat.test_journal import *;"
        "journal = Journal(Path(sys.argv[1]));"
        "[journal.write([call(n) for n in range(i, i + ROWS)]) "
        "for i in range(0, WRITES * ROWS, ROWS)]; os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 9


def whole(journal: Journal) -> list[int]:
    """Numbers of the calls that are there, each of them as it was written."""
    there = []
    for number in range(WRITES * ROWS):
        replies = list(journal.replies(f"key{number}"))
        if replies:
            assert replies == [(call(number).raw or b"").decode()]
            there.append(number)
    return there


def test_what_was_written_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.sqlite"
    filled(path)
    with Journal(path, read_only=True) as journal:
        assert whole(journal) == list(range(WRITES * ROWS))
        assert journal.endings() == {"answered": WRITES * ROWS}
        assert journal.models() == {("m", "m-1"): WRITES * ROWS}
        assert journal.refusal("bad") == "HTTP 400: no"
        assert [refusal.request for refusal in journal.refusals()] == ["r-bad"]
        with pytest.raises(WorkError, match="read alone"):
            journal.write([call(0)])
    with sqlite3.connect(path) as database:
        (mode,) = database.execute("PRAGMA journal_mode").fetchone()
    database.close()
    assert mode == "wal"


def test_every_write_is_forced_to_the_disk(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal._out is not None
        assert journal._out.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_process_that_ends_without_closing_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    killed(path)
    assert (tmp_path / "j.sqlite-wal").stat().st_size > 0
    with Journal(path) as journal:
        assert whole(journal) == list(range(WRITES * ROWS))
        assert journal.notes == []


def test_a_log_that_is_cut_anywhere_keeps_whole_transactions_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    killed(path)
    log = (tmp_path / "j.sqlite-wal").read_bytes()
    noted = 0
    for size in range(0, len(log), 512 * 37):
        copy = tmp_path / f"at-{size}" / "j.sqlite"
        copy.parent.mkdir()
        shutil.copy(path, copy)
        copy.with_name("j.sqlite-wal").write_bytes(log[:size])
        with Journal(copy) as journal:
            there = whole(journal)
            assert there == list(range(len(there)))
            assert len(there) % ROWS == 0
            for note in journal.notes:
                assert "the last write was cut off" in note
            noted += bool(journal.notes)
    assert noted > 20


def test_a_damaged_file_is_set_aside_and_its_rows_are_saved(tmp_path: Path) -> None:
    """Cut short, or with a page of noise behind the roots of its tables: what is left is right."""
    path = tmp_path / "j.sqlite"
    filled(path)
    content, draw = path.read_bytes(), random.Random(0)
    pages = len(content) // 4096
    saved = 0
    for number in range(30):
        copy = tmp_path / f"copy-{number}" / "j.sqlite"
        copy.parent.mkdir()
        at = 4096 * draw.randrange(5, pages)
        noise = content[:at] + draw.randbytes(4096) + content[at + 4096 :]
        copy.write_bytes(noise if number % 2 else content[: at + draw.randrange(4096)])
        with Journal(copy) as journal:
            there = whole(journal)
            if journal.notes:
                (note,) = journal.notes
                assert "was damaged" in note
                assert "calls were read and kept" in note
                assert copy.with_name("j.sqlite.damaged-1").exists()
                saved += len(there)
            else:
                assert len(there) >= WRITES * ROWS - 60
        with Journal(copy) as journal:
            assert (journal.notes, whole(journal)) == ([], there)
    assert saved > 1000


def test_a_changed_reply_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    filled(path)
    content = path.read_bytes()
    at = content.index(b"reply 123 ")
    path.write_bytes(content[:at] + b"REPLY" + content[at + 5 :])
    with Journal(path) as journal:
        assert whole(journal) == [n for n in range(WRITES * ROWS) if n != 123]


def test_what_cannot_be_read_at_all_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    filled(path)
    ruin = path.read_bytes()[:100] + os.urandom(5000)
    path.write_bytes(ruin)
    with pytest.raises((DataError, InputError)):
        Journal(path)
    assert path.read_bytes() == ruin
    assert sorted(file.name for file in tmp_path.iterdir() if "damaged" in file.name) == []


@pytest.mark.parametrize("content", [b"hello", b'{"a": 1}' * 100])
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(InputError, match="is no journal but another file"):
            Journal(path, read_only=read_only)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE people (name)")
    database.close()
    with pytest.raises(InputError, match="another program's database"):
        Journal(path)
    with pytest.raises(InputError, match="another program's database"):
        Journal(path, read_only=True)


def test_a_journal_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    filled(path)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(InputError, match="of format 7; this isthmus reads format 1"):
        Journal(path)


def test_a_second_writer_is_told_who_has_it_and_a_reader_is_not_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    code = (
        "import sys; from isthmus.core.chat import Journal; from isthmus.errors import InputError\n"
        "Journal(sys.argv[1], read_only=True).close()\n"
        "try: Journal(sys.argv[1])\n"
        "except InputError as error: print(error)"
    )
    with Journal(path) as journal:
        journal.write([call(0)])
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        assert f"another process writes this journal: process {os.getpid()} on" in done.stdout
        assert "open it to read alone" in done.stdout
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout == ""


def test_a_journal_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no journal"):
        Journal(tmp_path / "nowhere.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_check_sum_is_that_of_key_and_reply(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    filled(path)
    with sqlite3.connect(path) as database:
        key, raw, written = database.execute("SELECT key, raw, crc FROM calls").fetchone()
    database.close()
    assert written == zlib.crc32(key.encode() + raw)


def test_what_another_journal_has_is_taken_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.sqlite") as mine, Journal(tmp_path / "b.sqlite") as other:
        mine.write([call(1)])
        other.write([call(1), call(2), call(2)])
        other.write([Refusal("bad", "r", "no", "{}")])
        assert take(mine, other) == 3
        assert take(mine, other) == 0
        assert [row.key for row in mine.calls()] == ["key1", "key2", "key2"]
        assert mine.refusal("bad") == "no"
