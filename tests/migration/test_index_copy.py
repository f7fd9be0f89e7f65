"""Copies of an index that another process holds as Orthanc does: exclusively, writing, in whatever journal mode."""

from __future__ import annotations

import errno
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SourceError
from gateway.migration import index_copy
from gateway.migration.index_copy import copy_index, index_state
from gateway.migration.log_follower import LogFollower, LogHeader, read_header

WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for pragma in ("locking_mode = EXCLUSIVE", "wal_autocheckpoint = 40", "synchronous = OFF"):
    connection.execute("PRAGMA " + pragma)
connection.execute("PRAGMA journal_mode = " + sys.argv[2])
connection.execute("CREATE TABLE IF NOT EXISTS pairs (id INTEGER PRIMARY KEY, a BLOB, b BLOB)")
number = 0
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        number += 1
        connection.execute("BEGIN")
        # Rows far apart that say the same: a copy of half a transaction shows.
        for row in (number % 50, number % 50 + 1000):
            connection.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?, zeroblob(3000))", (row, str(number)))
        connection.execute("COMMIT")
    print(number, flush=True)
"""


class Writer:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def write(self, transactions: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{transactions}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip().isdigit()


@contextmanager
def writing(index: Path, mode: str) -> Iterator[Writer]:
    command = [sys.executable, "-c", WRITER, str(index), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield Writer(process)
        finally:
            process.kill()


def pairs(copy: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(copy)) as connection:
        sql = "SELECT x.a, y.a FROM pairs x JOIN pairs y ON y.id = x.id + 1000 ORDER BY x.id"
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_copies_are_consistent_while_it_is_written(tmp_path: Path, mode: str) -> None:
    index, copy = tmp_path / "index", tmp_path / "copy"
    with writing(index, mode) as writer:
        writer.write(60)
        with (
            pytest.raises(sqlite3.OperationalError, match="locked"),
            closing(sqlite3.connect(index, timeout=0)) as other,
        ):
            other.execute("SELECT COUNT(*) FROM pairs")
        over = threading.Event()

        def write() -> None:
            while not over.wait(0.002):
                writer.write(1)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(15):
                copy_index(index, copy)
                found = pairs(copy)
                assert len(found) == 50
                assert [each for each in found if each[0] != each[1]] == []
        finally:
            over.set()
            thread.join()
        newest = max(int(a) for a, _ in pairs(copy))
        writer.write(3)
        copy_index(index, copy)
        assert max(int(a) for a, _ in pairs(copy)) >= newest + 3


def test_its_state_says_whether_it_was_written(tmp_path: Path) -> None:
    with writing(tmp_path / "index", "WAL") as writer:
        writer.write(1)
        state = copy_index(tmp_path / "index", tmp_path / "copy")
        assert index_state(tmp_path / "index") == state
        writer.write(1)
        assert index_state(tmp_path / "index") != state


def test_nothing_beside_the_index_is_touched(tmp_path: Path) -> None:
    (tmp_path / "orthanc").mkdir()
    index = tmp_path / "orthanc" / "index"
    with writing(index, "WAL") as writer:
        writer.write(5)
        before = {path.name: path.read_bytes() for path in index.parent.iterdir()}
        copy_index(index, tmp_path / "below" / "copy")
        assert {path.name: path.read_bytes() for path in index.parent.iterdir()} == before


def test_a_transaction_that_was_broken_off_is_taken_back(tmp_path: Path) -> None:
    """An Orthanc was killed in the midst of one: its journal is there, and nobody has used it."""
    with writing(tmp_path / "index", "DELETE") as writer:
        writer.write(60)
        good = (tmp_path / "index").read_bytes()
    connection = sqlite3.connect(tmp_path / "index", isolation_level=None)
    with closing(connection):
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("UPDATE pairs SET a = 'half' WHERE id < 500")
        journal = (tmp_path / "index-journal").read_bytes()
        half = (tmp_path / "index").read_bytes()
        connection.execute("ROLLBACK")
    assert half != good
    (tmp_path / "index").write_bytes(half)
    (tmp_path / "index-journal").write_bytes(journal)
    copy_index(tmp_path / "index", tmp_path / "copy")
    assert not any("half" in pair for pair in pairs(tmp_path / "copy"))


def test_one_that_is_written_too_fast_is_given_up(tmp_path: Path) -> None:
    with writing(tmp_path / "index", "WAL") as writer:
        writer.write(1)
        pauses: list[float] = []
        follow = LogFollower.follow

        def follow_later(follower: LogFollower) -> bool:
            writer.write(200)  # The log is begun anew several times between any two looks at it.
            return follow(follower)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LogFollower, "follow", follow_later)
            with pytest.raises(SourceError, match="faster than it can be copied"):
                copy_index(tmp_path / "index", tmp_path / "copy", pause=pauses.append)
        assert len(pauses) > 10


def test_commits_between_the_pieces_of_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is begun anew again and again while the database is copied, and everything is in the copy."""
    monkeypatch.setattr(index_copy, "_PIECE_BYTES", 4096)
    follow, begin = LogFollower.follow, LogFollower._begin
    begun: list[object] = []

    def begin_and_note(follower: LogFollower, header: LogHeader) -> None:
        begun.append(header)
        begin(follower, header)

    with writing(tmp_path / "index", "WAL") as writer:
        writer.write(120)

        def follow_after_a_commit(follower: LogFollower) -> bool:
            writer.write(3)  # So that the end of a log is read after the next one was begun.
            return follow(follower)

        monkeypatch.setattr(LogFollower, "follow", follow_after_a_commit)
        monkeypatch.setattr(LogFollower, "_begin", begin_and_note)
        copy_index(tmp_path / "index", tmp_path / "copy", pause=lambda seconds: pytest.fail("a commit was missed"))
        found = pairs(tmp_path / "copy")
    assert len(begun) > 3
    assert len(found) == 50
    assert [each for each in found if each[0] != each[1]] == []
    assert max(int(a) for a, _ in found) > 150


def test_the_end_of_a_log_behind_the_next_one(tmp_path: Path) -> None:
    """Commits that were not looked at before the log was begun anew are still there, if it is looked at soon."""
    index, log = tmp_path / "index", tmp_path / "index-wal"

    def write_until_anew(writer: Writer) -> None:
        salts = log.read_bytes()[16:24]
        while log.read_bytes()[16:24] == salts:
            writer.write(1)

    with writing(index, "WAL") as writer, (tmp_path / "frames").open("w+b") as frames:
        writer.write(120)
        write_until_anew(writer)
        writer.write(4)
        with LogFollower(log, frames) as follower:
            assert follower.follow()
            (tmp_path / "copy").write_bytes(index.read_bytes())
            write_until_anew(writer)
            assert follower.follow()
            with (tmp_path / "copy").open("r+b") as copy:
                follower.apply(copy)
            copy_index(index, tmp_path / "whole")
            assert pairs(tmp_path / "copy") == pairs(tmp_path / "whole")
        with LogFollower(log, frames) as follower:
            assert follower.follow()
            write_until_anew(writer)
            writer.write(3)
            assert not follower.follow()


def test_an_orthanc_that_is_started_again_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log is another file then, with pages that nobody has followed."""
    monkeypatch.setattr(index_copy, "_PIECE_BYTES", 4096)
    follow = LogFollower.follow
    again: list[Writer] = []
    with writing(tmp_path / "index", "WAL") as writer, ExitStack() as stack:
        writer.write(60)

        def follow_after_a_start(follower: LogFollower) -> bool:
            if not again:
                writer.process.kill()
                writer.process.wait()
                with closing(sqlite3.connect(tmp_path / "index")) as connection:
                    connection.execute("SELECT COUNT(*) FROM pairs").fetchall()
                assert not (tmp_path / "index-wal").exists()
                again.append(stack.enter_context(writing(tmp_path / "index", "WAL")))
                again[0].write(200)
            return follow(follower)

        monkeypatch.setattr(LogFollower, "follow", follow_after_a_start)
        pauses: list[float] = []
        copy_index(tmp_path / "index", tmp_path / "copy", pause=pauses.append)
        assert pauses
        assert max(int(a) for a, _ in pairs(tmp_path / "copy")) == 200


def test_a_transaction_that_is_not_committed_is_not_copied(tmp_path: Path) -> None:
    """Pages of it are in the log already, and others are written over them when it is taken back."""
    index = tmp_path / "index"
    with closing(sqlite3.connect(index, isolation_level=None)) as connection:
        for pragma in ("journal_mode = WAL", "cache_size = 1", "cache_spill = 1"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE pairs (id INTEGER PRIMARY KEY, a BLOB, b BLOB)")
        connection.executemany("INSERT INTO pairs VALUES (?, 'old', zeroblob(3000))", [(each,) for each in range(1100)])
        with (tmp_path / "frames").open("w+b") as frames, LogFollower(tmp_path / "index-wal", frames) as follower:
            assert follower.follow()
            size = (tmp_path / "index-wal").stat().st_size
            connection.execute("BEGIN")
            connection.execute("UPDATE pairs SET a = 'half'")
            assert (tmp_path / "index-wal").stat().st_size > size
            assert follower.follow()
            connection.execute("ROLLBACK")
            connection.execute("UPDATE pairs SET a = 'new' WHERE id = 7")
            assert follower.follow()
            (tmp_path / "copy").write_bytes(index.read_bytes())
            with (tmp_path / "copy").open("r+b") as copy:
                follower.apply(copy)
    with closing(sqlite3.connect(tmp_path / "copy")) as copied:
        assert copied.execute("SELECT a, COUNT(*) FROM pairs GROUP BY a").fetchall() == [("new", 1), ("old", 1099)]


@pytest.mark.parametrize("data", [b"", bytes(32), b"\x37\x7f\x06\x82" + bytes(28), b"\xff" * 32])
def test_what_is_no_header_of_a_log(data: bytes) -> None:
    assert read_header(data) is None


@pytest.mark.parametrize("content", [b"", b"no database, but some text of more than a hundred bytes" * 4])
def test_what_is_no_index(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="there is no index"):
        copy_index(tmp_path / "index", tmp_path / "copy")
    (tmp_path / "index").write_bytes(content)
    if content:
        with pytest.raises(SourceError, match="cannot be read"):
            copy_index(tmp_path / "index", tmp_path / "copy")


def test_damage_is_seen(tmp_path: Path) -> None:
    with writing(tmp_path / "index", "DELETE") as writer:
        writer.write(60)
    data = bytearray((tmp_path / "index").read_bytes())
    data[4096 * 3 : 4096 * 4] = bytes(4096)
    (tmp_path / "index").write_bytes(data)
    with pytest.raises(SourceError, match=r"damaged|cannot be read"):
        copy_index(tmp_path / "index", tmp_path / "copy")


@pytest.mark.parametrize("method", ["stat", "open"])
def test_an_index_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    index = tmp_path / "index"
    index.write_bytes(b"")
    real = getattr(Path, method)

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == index:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, method, refuse)
    words = f"{index}: it cannot be read: Permission denied; run this as root or as Orthanc's user"
    for read in (lambda: copy_index(index, tmp_path / "copy"), lambda: index_state(index)):
        with pytest.raises(SourceError, match=re.escape(words)):
            read()
