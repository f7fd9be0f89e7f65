"""An index without instances, that says whether it understands a search."""

from __future__ import annotations

import sqlite3
from functools import cache
from typing import Any, cast

from gateway.database import migrations
from gateway.dicom.encode import DataSet
from gateway.index.attributes import Level
from gateway.index.search import search, total
from gateway.retrieve.query import QueryExecution


def run_search(level: Level, keys: DataSet, **options: Any) -> None:
    """Search for what matches the keys, and count it, as a `QueryExecution` with these options would."""
    finder = QueryExecution(*(cast(Any, None), cast(Any, None), level, keys), most_read=0, **options)
    for statement, values in (search(finder._search), total(finder._search, 100)):
        list(_index().execute(statement.sql.replace("$", "?"), tuple(values)))


@cache
def _index() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for migration in migrations.migrations():
        for statement in migration.statements(migrations.SQLITE):
            connection.execute(statement)
    return connection
