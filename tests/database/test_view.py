"""gateway/database/view.py: what a statement reads through a view, and which statements do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.database.actor import ACTOR, GATEWAY, Actor
from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.database.view import VIEW, View, reading, seeing

GARBAGE = Query("garbage", "SELECT key FROM garbage WHERE at <= $1 ORDER BY key")
ODD = {"garbage": "SELECT v.* FROM {schema}.garbage v WHERE v.key LIKE $1"}
"""A view of one table; its parameter is a pattern."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    made = await SQLite.open(tmp_path / "index.db")
    try:

        def script() -> Script[None]:
            for number, key in enumerate(("a1", "a2", "b1")):
                yield Query("add", "INSERT INTO garbage (key, at) VALUES ($1, $2)"), (key, number)

        await made.write(script)
        yield made
    finally:
        await made.close()


async def keys(database: SQLite) -> list[str]:
    return [key for (key,) in await database.fetch(GARBAGE, 99)]


async def test_of_a_part_of_the_rows(database: SQLite) -> None:
    assert await keys(database) == ["a1", "a2", "b1"]
    with seeing(View(ODD, ["a%"])):
        assert await keys(database) == ["a1", "a2"]
        with seeing(None):
            assert await keys(database) == ["a1", "a2", "b1"]
        assert await keys(database) == ["a1", "a2"]
    assert VIEW.get() is None


async def test_tasks_that_are_started_inherit_it(database: SQLite) -> None:
    with seeing(View(ODD, ["b%"])):
        inherited = asyncio.create_task(keys(database))
        with seeing(None):
            clean = asyncio.create_task(keys(database))
    assert await inherited == ["b1"]
    assert await clean == ["a1", "a2", "b1"]


async def test_for_whom_it_is_read() -> None:
    with reading(Actor("anna"), None):
        assert ACTOR.get() == Actor("anna")
    assert ACTOR.get() == GATEWAY


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM garbage",
        "SELECT (SELECT COUNT(*) FROM garbage)",
        "SELECT COUNT(*) FROM (SELECT 1 FROM garbage g UNION ALL SELECT 1 FROM garbage h) x WHERE 1 = 1",
        "\n    -- counts\n    SELECT COUNT(*) FROM garbage",
        "SELECT COUNT(*) FROM lanes CROSS JOIN garbage",
        "WITH named AS (SELECT key FROM garbage) SELECT COUNT(*) FROM named",
    ],
)
async def test_wherever_a_statement_names_the_table(database: SQLite, sql: str) -> None:
    query = Query("count", sql)
    with seeing(View(ODD, ["nothing"])):
        assert await database.fetch(query) == [(0,)]
        assert await database.write(lambda: _read(query)) == [(0,)]


def _read(query: Query, *parameters: Any) -> Script[Any]:
    return (yield query, parameters)


async def test_a_statement_that_names_no_such_table_stays_as_it_is() -> None:
    query = Query("other", "SELECT $1 FROM lanes")
    narrowed, parameters = View(ODD, ["a%"]).narrow(query, ("x",), "main")
    assert (narrowed.sql, tuple(parameters)) == (query.sql, ("x",))


async def test_tables_by_which_others_are_seen(database: SQLite) -> None:
    """Only those that the statement needs come before it, with the parameters that those need."""
    tables = {
        "lanes": "SELECT v.* FROM {schema}.lanes v WHERE v.lane = $2",
        **ODD,
        "unreadable_files": "SELECT v.* FROM {schema}.unreadable_files v WHERE v.key IN (SELECT key FROM garbage)",
    }
    view = View(tables, ["a%", "other"])
    narrowed, parameters = view.narrow(Query("q", "SELECT key FROM unreadable_files WHERE at > $1"), (5,), "main")
    assert tuple(parameters) == (5, "a%")
    assert "lanes" not in narrowed.sql
    assert narrowed.sql.index("garbage AS") < narrowed.sql.index("unreadable_files AS")

    def script() -> Script[None]:
        for key in ("a1", "b1"):
            yield (
                Query("add", "INSERT INTO unreadable_files (key, reason, at) VALUES ($1, '', 9)"),
                (key,),
            )

    await database.write(script)
    with seeing(view):
        assert await database.fetch(Query("q", "SELECT key FROM unreadable_files WHERE at > $1"), 5) == [("a1",)]


async def test_scripts_read_through_it_and_write_all_the_same(database: SQLite) -> None:
    def script() -> Script[list[Any]]:
        seen = yield GARBAGE, (99,)
        yield Query("change", "UPDATE garbage SET at = at + 10"), ()
        return list(seen)

    with seeing(View(ODD, ["b%"])):
        assert await database.write(script) == [("b1",)]
    assert await database.fetch(Query("q", "SELECT MIN(at) FROM garbage")) == [(10,)]


async def test_an_error_in_a_script_is_that_of_the_script(database: SQLite) -> None:
    def script() -> Script[None]:
        yield GARBAGE, (99,)
        raise ValueError("of the script")

    with seeing(View(ODD, ["b%"])), pytest.raises(ValueError, match="of the script"):
        await database.write(script)


def test_equal_views_are_prepared_once() -> None:
    first, second = View(ODD, ["a%"]), View(dict(ODD), ["a%"])
    assert (first, hash(first)) == (second, hash(second))
    assert first != View(ODD, ["b%"])
    assert first.narrow(GARBAGE, (1,), "main")[0] is second.narrow(GARBAGE, (2,), "main")[0]


ABOVE = {
    "studies": "SELECT v.* FROM {schema}.studies v WHERE v.uid = $1",
    "series": "SELECT v.* FROM {schema}.series v WHERE EXISTS (SELECT 1 FROM studies x WHERE x.id = v.study)",
    "instances": "SELECT v.* FROM {schema}.instances v WHERE EXISTS (SELECT 1 FROM series x WHERE x.id = v.series)",
}
DOWN = "FROM studies t JOIN series s ON s.study = t.id"


def whole(sql: str) -> list[str]:
    """The tables that a statement reads whole through the view of one study."""
    narrowed, _ = View(ABOVE, ["1.2"]).narrow(Query("q", sql), (), "main")
    return re.findall(r"\bmain\.(\w+)", narrowed.sql.rpartition("SELECT i.uid")[2])


@pytest.mark.parametrize(
    ("joined", "tables"),
    [
        (f"{DOWN} JOIN instances i ON i.series = s.id", ["series", "instances"]),
        (f"{DOWN}\n    JOIN instances i ON i.series = s.id WHERE t.id > 0", ["series", "instances"]),
        ("FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study", ["instances", "series"]),
        ("FROM (SELECT i.uid FROM series s JOIN instances i ON i.series = s.id) i", ["instances"]),
        ("FROM lanes a JOIN instances i ON i.uid = a.lane JOIN series s ON s.id = i.series ORDER BY 1", ["instances"]),
    ],
)
async def test_what_is_joined_to_rows_that_are_seen_is_not_looked_at_again(joined: str, tables: list[str]) -> None:
    assert whole(f"SELECT i.uid {joined}") == tables


@pytest.mark.parametrize(
    "joined",
    [
        "FROM instances i",
        "FROM instances i WHERE i.series IN (SELECT id FROM series)",
        "FROM series s JOIN instances i ON i.series = s.id OR i.id = 1",
        "FROM series s JOIN instances i ON i.series = s.id AND i.id = 1 OR i.id = 2",
        "FROM series s JOIN instances i ON i.series = s.id + 1",
        "FROM series s JOIN instances i ON i.id = s.id",
        "FROM series s JOIN instances i ON i.series <> s.id",
        "FROM series s JOIN instances i ON i.series = t.id",
        "FROM main.series s JOIN instances i ON i.series = s.id",
        "FROM series s LEFT JOIN instances i ON i.series = s.id",
        "FROM instances i LEFT JOIN series s ON s.id = i.series",
        "FROM series s CROSS JOIN instances i WHERE i.series = s.id",
        "FROM series s, instances i WHERE i.series = s.id",
        "FROM other_series s JOIN instances i ON i.series = s.id",
    ],
)
async def test_what_is_not_joined_so_is_looked_at(joined: str) -> None:
    assert "instances" not in whole(f"SELECT i.uid {joined}")
