"""Whether PostgreSQL takes our statements, word for word: each is prepared by a real one, over our schema.

One text for both databases is a rule of the house (`Query`), and what breaks it shows here on the day it is written.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import get_args

import asyncpg
import pytest

import gateway
from gateway.config.roles import Role
from gateway.database.database import Query
from gateway.database.postgres_connection import statement
from gateway.dicom.levels import Level
from gateway.index import attributes as tags
from gateway.index import matching, narrowing, search
from gateway.index.locate import locate
from gateway.index.ordering import Ordering, order_by
from gateway.index.queries import annotations, patient_list, resources, selection, store, study_list
from gateway.index.search import Search
from gateway.index.visibility import visible
from gateway.workflow import queries as workflow
from tests.database.test_plans import fixed, searches, study_pages
from tests.index.test_visibility import statements as statements_of_views

pytestmark = pytest.mark.interop

LEVELS: tuple[Level, ...] = ("patient", "study", "series", "instance")
PLACES: dict[Level, search.Position] = {
    "patient": (1,),
    "study": ("20260101", 1),
    "series": ("20260101", 1, 1),
    "instance": ("20260101", 1, 1, 1),
}


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


def fixed_statements() -> Iterator[Query]:
    """Those of every file named for them."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if "queries" in module.name.split("."):
            yield from fixed(importlib.import_module(module.name))


def made_for_a_number_of_keys() -> Iterator[Query]:
    yield from (store.keys_present(3), store.keys_known(3), workflow.stored_instances(3))
    for made in (selection.outlined, selection.selected_series, selection.selected_instances):
        for column in ("t.uid", "s.uid", *(["i.uid"] if made != selection.selected_series else [])):
            yield made([(column, ["1", "2"])])[0]
    yield from (selection.selected_twice([(column, ["1", "2"])])[0] for column in ("t.uid", "s.uid", "i.uid"))
    yield from (locate("1")[0], locate("1", "2")[0], locate("1", "2", "3")[0])
    for level in LEVELS:
        yield from (of(level, 2) for of in (resources.by_row, resources.stamps, resources.around, annotations.added_to))
    yield from (annotations.came_from(level, 2) for level in ("series", "instance"))


def narrowings(level: Level) -> Iterator[search.Narrowing]:
    """Each kind of condition on resources."""
    yield narrowing.of_rows(level, [1, 2])
    yield from (narrowing.labelled(level, ["a", "b"], constraint) for constraint in get_args(narrowing.Constraint))
    yield from (narrowing.with_metadata(level, name, "x*", any_case=True) for name in ("note", "RemoteAET"))
    yield from (narrowing.below(above, "P") for above in LEVELS[: LEVELS.index(level)])


def built_searches() -> Iterator[Query]:
    """Each key at each level, alone; each way to page, to restrict and to ask for more."""
    for level in LEVELS:
        for lower in (False, True):
            yield from (query for _tag, _value, query in searches(level, lower=lower))
        wanted = [
            Search(level, limit=25, offset=50, include="all"),
            Search(level, [(tags.PATIENT_NAME, "x")], fuzzy=True, patient="P"),
            Search(level, [(tags.STUDY_DATE, "20260101-"), (tags.STUDY_TIME, "1200-")], combined=True),
            Search(level, [(tag, '""') for tag in (tags.PATIENT_NAME, tags.STUDY_DATE, tags.MODALITY)], empty=True),
            Search(level, after=PLACES[level], include=frozenset((tags.SOP_CLASSES_IN_STUDY,))),
        ]
        if level != "patient":
            wanted.append(Search(level, study_uid="1.2", series_uid="1.2.3"))
        for each in wanted:
            yield from (search.search(each)[0], search.total(each, 1000)[0])
            yield from (search.rows_found(replace(each, after=None))[0], search.count_found(each)[0])
        for narrowed in narrowings(level):
            yield search.rows_found(Search(level, any_case=True, narrowings=(narrowed,)))[0]
        for ordering in (
            Ordering("ASC", tags.PATIENT_NAME),
            Ordering("DESC", name="note"),
            Ordering("ASC", name="LastUpdate"),
        ):
            parameters = matching.Parameters()
            order = order_by(level, [ordering], parameters)
            yield search.rows_found(Search(level), order, parameters)[0]
    yield from (query for _order, _continued, query in study_pages())
    of_studies = patient_list.OF_STUDIES.format(conditions=study_list.HAS_NAME_LIKE.format(tag=1, pattern="$1"))
    beyond = patient_list.BEYOND.format(sign="<", row="$2")
    for condition in (of_studies, f"{of_studies} AND {beyond}", patient_list.HAS_LABEL.format(label="$1")):
        yield patient_list.page(condition, descending=True, limit="51")
    for rest in (study_list.UNNAMED, study_list.UNLABELLED):
        text = rest.format(tag=tags.PATIENT_NAME, conditions=study_list.EVERY)
        yield study_list.page(text, study_list.REST_KEYS, descending=False, limit="51")
    yield study_list.count(study_list.FROM_SOURCE.format(source="$1"), "$2")
    for condition in (
        study_list.HAS_NAME_LIKE.format(tag=1, pattern="$1"),
        study_list.PATIENT_ID_LIKE.format(pattern="$1"),
        study_list.HAS_MODALITY.format(pattern="$1"),
        study_list.UNTIL.format(date="$1"),
        study_list.HAS_LABEL.format(label="$1"),
    ):
        text = study_list.STUDIES.format(conditions=condition)
        yield study_list.page(text, study_list.KEYS["date"], descending=False, limit="51")


@pytest.mark.case("item 10 PostgreSQL takes every statement as it is written")
@pytest.mark.parametrize("statements", [fixed_statements, made_for_a_number_of_keys, built_searches])
async def test_statements(connection: asyncpg.Connection, statements: object) -> None:
    refused = []
    count = 0
    for query in statements():  # type: ignore[operator]
        count += 1
        try:
            async with connection.transaction():
                await connection.prepare(statement(query.sql))
        except asyncpg.PostgresError as error:
            refused.append(f"{query.name}: {error}: {' '.join(query.sql.split())}")
    assert count > 10
    assert not refused, "\n".join(refused[:10])


async def test_statements_through_a_view(connection: asyncpg.Connection) -> None:
    role = Role(permissions=("view",), labels=("a", "b"), sources=("CT",), patients=("P*", "Q"), days=3)
    view = visible([role], [Role(permissions=("view",), without_labels=("c",), tenant="t")], reader="anna")
    assert view is not None
    seen = 0
    for query in statements_of_views():
        count = max([0, *map(int, re.findall(r"\$(\d+)", query.sql))])
        narrowed, _parameters = view.narrow(query, [1] * count, "public")
        await connection.prepare(statement(narrowed.sql))
        seen += narrowed.sql != query.sql
    assert seen > 60


@pytest.mark.parametrize(
    "text",
    [
        "SELECT t.id FROM studies t CROSS JOIN series s ON s.study = t.id",
        "SELECT id FROM studies LIMIT $1, $2",
        "INSERT OR IGNORE INTO garbage (key, at) VALUES ($1, $2)",
        "SELECT uid, COUNT(*) FROM studies",
        "SELECT datetime('now')",
    ],
)
async def test_what_only_sqlite_takes_is_seen(connection: asyncpg.Connection, text: str) -> None:
    with pytest.raises(asyncpg.PostgresError):
        async with connection.transaction():
            await connection.prepare(text)
