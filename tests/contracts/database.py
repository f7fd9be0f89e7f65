"""What every database driver must do. A driver's test class inherits DatabaseContract and gives a `database` fixture.

The fixture yields an open, empty database with the schema of this release.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from gateway.database.database import Database, Query, Script
from gateway.errors import DatabaseError

PUT = Query("put", "INSERT INTO garbage (key, at) VALUES ($1, $2)")
PUT_NEW = Query("put_new", "INSERT INTO garbage (key, at) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING key")
GET = Query("get", "SELECT at FROM garbage WHERE key = $1")
ALL = Query("all", "SELECT key FROM garbage ORDER BY key")
LIKE = Query("like", "SELECT key FROM garbage WHERE key LIKE $1 ESCAPE '!' ORDER BY key")
ABOVE = Query("above", "SELECT key FROM garbage WHERE key > $1 ORDER BY key")
LOWER = Query("lower", "SELECT key FROM garbage WHERE LOWER(key) = $1")
"""Only the capitals of ASCII are made small."""
NUMBERS = Query("numbers", "SELECT SUM(at), SUM(CAST(3 AS BIGINT)), key = 'a', key = 'b' FROM garbage GROUP BY key")
PUT_CHANGE = Query(
    "put_change",
    "INSERT INTO changes (kind, level, public_id, study_uid, at) VALUES ('', '', '', '', 0) RETURNING seq",
)
DROP_CHANGES = Query("drop_changes", "DELETE FROM changes")
WRONG = Query("wrong", "SELECT nothing FROM nowhere")


class Refused(Exception):
    pass


def put(key: str, at: float = 1.0) -> Script[str]:
    yield PUT, (key, at)
    return key


def put_and_refuse(key: str) -> Script[None]:
    yield PUT, (key, 1.0)
    raise Refused(key)


def put_and_break(key: str) -> Script[None]:
    yield PUT, (key, 1.0)
    yield WRONG, ()


class Failing:
    """A connection whose chosen statement fails with an error of SQLite's, before or after it was run."""

    def __init__(self, connection: sqlite3.Connection, statement: str, code: int, *, run: bool = False) -> None:
        self._connection = connection
        self.statement, self.code, self.run = statement, code, run

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        if sql == self.statement:
            if self.run:
                self._connection.execute(sql, parameters)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            raise error
        return self._connection.execute(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class DatabaseContract:
    async def test_a_script_is_sent_the_rows_and_its_result_comes_back(self, database: Database) -> None:
        def script() -> Script[list[object]]:
            first = yield PUT_NEW, ("a", 1.5)
            second = yield PUT_NEW, ("a", 2.5)
            third = yield GET, ("a",)
            return [first, second, third]

        assert await database.write(script) == [[("a",)], [], [(1.5,)]]

    async def test_the_version_changes_with_what_is_committed(self, database: Database) -> None:
        before = database.data_version()
        assert database.data_version() == before
        await database.fetch(ALL)
        assert database.data_version() == before
        versions = {before}
        for n in range(20):
            await database.write(lambda: put(f"k{n}"))  # noqa: B023
            assert database.data_version() not in versions
            versions.add(database.data_version())
        with pytest.raises(Refused):
            await database.write(lambda: put_and_refuse("x"))

    async def test_what_is_written_is_seen_by_the_next_fetch(self, database: Database) -> None:
        for n in range(20):
            await database.write(lambda n=n: put(f"k{n:02}", n))
            assert await database.fetch(GET, f"k{n:02}") == [(float(n),)]

    async def test_what_a_script_raises_comes_out_and_rolls_it_back(self, database: Database) -> None:
        with pytest.raises(Refused):
            await database.write(lambda: put_and_refuse("a"))
        assert await database.fetch(ALL) == []

    async def test_a_failing_statement_is_a_database_error_and_rolls_back(self, database: Database) -> None:
        with pytest.raises(DatabaseError) as caught:
            await database.write(lambda: put_and_break("a"))
        assert not caught.value.in_doubt
        assert await database.fetch(ALL) == []
        with pytest.raises(DatabaseError):
            await database.fetch(WRONG)

    async def test_concurrent_scripts_fail_alone(self, database: Database) -> None:
        scripts = []
        for n in range(60):
            kind = (put, put_and_refuse, put_and_break)[n % 3]
            scripts.append(database.write(lambda n=n, kind=kind: kind(f"k{n:02}")))
        async with asyncio.timeout(20):
            results = await asyncio.gather(*scripts, return_exceptions=True)
        for n, result in enumerate(results):
            if n % 3 == 0:
                assert result == f"k{n:02}"
            else:
                assert isinstance(result, (Refused, DatabaseError)[n % 3 - 1])
        assert await database.fetch(ALL) == [(f"k{n:02}",) for n in range(0, 60, 3)]

    async def test_a_script_sees_the_ones_before_it(self, database: Database) -> None:
        results = await asyncio.gather(*[database.write(lambda: put_new("same")) for _ in range(30)])
        assert sorted(results) == [False] * 29 + [True]

    async def test_a_script_that_asks_nothing(self, database: Database) -> None:
        def script() -> Script[int]:
            return 7
            yield

        assert await database.write(script) == 7

    async def test_a_waiter_that_is_cancelled_disturbs_nobody(self, database: Database) -> None:
        tasks = [asyncio.ensure_future(database.write(lambda n=n: put(f"k{n:02}"))) for n in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        async with asyncio.timeout(20):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        there = {key for (key,) in await database.fetch(ALL)}
        assert set(results[1::2]) == {f"k{n:02}" for n in range(1, 40, 2)} <= there

    async def test_like_is_case_sensitive_and_escapes(self, database: Database) -> None:
        for key in ("Abc", "abc", "a_c", "a%c", "äbc"):
            await database.write(lambda key=key: put(key))
        assert await database.fetch(LIKE, "a%c") == [("a%c",), ("a_c",), ("abc",)]
        assert await database.fetch(LIKE, "a!_c") == [("a_c",)]
        assert await database.fetch(LIKE, "a!%c") == [("a%c",)]
        assert await database.fetch(LIKE, "_bc") == [("Abc",), ("abc",), ("äbc",)]

    async def test_text_keeps_every_character(self, database: Database) -> None:
        texts = ("", "山田^太郎", "\U0001f600", "a'b\"c\\d\n", "\0", "a\0b\0", "\x01", "\x01\x02\0\x01\x01", "\\u0000")
        for key in texts:
            await database.write(lambda key=key: put(key))
            assert await database.fetch(GET, key) == [(1.0,)]

        assert [key for (key,) in await database.fetch(ALL)] == sorted(texts, key=str.encode)

    async def test_texts_are_ordered_by_their_bytes(self, database: Database) -> None:
        texts = [
            "Ab",
            "a^b",
            "ab",
            "a b",
            "aB",
            "a-b",
            "B",
            "Ä",
            "é",
            "e",
            "z",
            "a\0",
            "a",
            "a\x01",
            "1.10",
            "1.9",
        ]
        for key in texts:
            await database.write(lambda key=key: put(key))
        ordered = sorted(texts, key=str.encode)
        assert [key for (key,) in await database.fetch(ALL)] == ordered
        assert [key for (key,) in await database.fetch(ABOVE, "a^b")] == ordered[ordered.index("a^b") + 1 :]
        assert await database.fetch(LOWER, "Ä") == [("Ä",)]

    async def test_numbers_and_truth(self, database: Database) -> None:
        await database.write(lambda: put("a", 2))
        ((total, counted, true, false),) = await database.fetch(NUMBERS)
        assert (total, counted, true, false) == (2.0, 3, 1, 0)
        assert [type(each) for each in (total, counted, true, false)] == [float, int, int, int]

    async def test_a_sequence_number_is_never_given_twice(self, database: Database) -> None:
        def change() -> Script[int]:
            ((seq,),) = yield PUT_CHANGE, ()
            return seq

        def drop() -> Script[None]:
            yield DROP_CHANGES, ()

        first = [await database.write(change) for _ in range(3)]
        await database.write(drop)
        assert await database.write(change) > max(first)

    async def test_after_close_nothing_is_written(self, database: Database) -> None:
        pending = [asyncio.ensure_future(database.write(lambda n=n: put(f"k{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await database.close()
            assert await asyncio.gather(*pending) == [f"k{n}" for n in range(10)]
            with pytest.raises(DatabaseError):
                await database.write(lambda: put("late"))
            with pytest.raises(DatabaseError):
                await database.fetch(ALL)
            await database.close()


def put_new(key: str) -> Script[bool]:
    return bool((yield PUT_NEW, (key, 1.0)))
