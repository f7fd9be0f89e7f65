"""gateway/database/log_erasure.py: nothing of deleted rows is left in the files of SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite

ADD = Query("add", "INSERT INTO saved_searches (user_name, name, query, saved_at) VALUES ('u', $1, $2, 0)")
REMOVE = Query("remove", "DELETE FROM saved_searches")
COUNT = Query("count", "SELECT COUNT(*) FROM saved_searches")
SECRET = "Zwiebelfisch"


async def filled(path: Path) -> SQLite:
    database = await SQLite.open(path)

    def add() -> Script[None]:
        for number in range(2000):
            yield ADD, (str(number), SECRET * 50)

    def remove() -> Script[None]:
        yield REMOVE, ()

    await database.write(add)
    await database.write(remove)
    return database


def found(path: Path) -> int:
    return sum(each.read_bytes().count(SECRET.encode()) for each in path.parent.iterdir())


async def test_the_log_is_overwritten(tmp_path: Path) -> None:
    database = await filled(tmp_path / "index.db")
    assert found(tmp_path / "index.db") > 0
    assert await database.overwrite_log()
    assert found(tmp_path / "index.db") == 0
    assert await database.fetch(COUNT) == [(0,)]
    await database.close()
    with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_before_it_is_deleted(tmp_path: Path) -> None:
    """A second name keeps what SQLite unlinks when the last connection closes."""
    database = await filled(tmp_path / "index.db")
    (tmp_path / "kept").hardlink_to(tmp_path / "index.db-wal")
    await database.close()
    assert not (tmp_path / "index.db-wal").exists()
    assert (tmp_path / "kept").stat().st_size > 100_000
    assert found(tmp_path / "index.db") == 0


async def test_not_while_somebody_reads_it(tmp_path: Path) -> None:
    database = await filled(tmp_path / "index.db")
    with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM saved_searches").fetchall()
        assert not await database.overwrite_log()
        assert reader.execute("SELECT COUNT(*) FROM saved_searches").fetchall() == [(0,)]
        reader.execute("COMMIT")
        assert await database.overwrite_log()
    await database.close()
