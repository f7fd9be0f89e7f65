"""How SQLite goes about every statement: none goes through a table that grows, but for those named here.

Plans depend on the schema alone: nothing runs ANALYZE, so what is planned here is what happens at a million instances.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateway.audit import queries as audit
from gateway.database.database import Query
from gateway.database.sqlite import SQLite
from gateway.dicom.levels import LEVELS, Level
from gateway.events import queries as events
from gateway.forwarding import queries as deliveries
from gateway.index import attributes as tags
from gateway.index import matching, narrowing, places, search
from gateway.index import queries as index
from gateway.index.locate import locate
from gateway.index.queries import annotations, resources, selection, store, study_list
from gateway.index.search import Search
from gateway.jobs import queries as jobs
from gateway.workflow import queries as archive

GROWING = (
    *("patients", "studies", "person_names", "series", "instances", "changes", "garbage", "metadata"),
    *("deleted_instances", "resource_metadata", "resource_labels", "protected_patients"),
    *("jobs", "deliveries", "commitments", "commitment_items", "performed_steps", "worklist_items"),
    "audit_log",
)
GONE_THROUGH = {
    "statistics": "adds up the rows of studies, of which there are hundreds of times fewer than of instances",
    "statistics_seen": "the same of those that a reader sees",
    "count_states": "is asked every half a minute at most, and read off an index; jobs go after jobs.keep_days",
    "size_of_metadata": "adds up an index that holds what http.metadata_cache allows, some ten thousand rows",
    "oldest_metadata": "ends at its limit, in the order of the index",
    "newest_instances": "ends at its limit, in the order of the primary key",
    "newest_received": "ends at its limit, in the order of the primary key",
    "study_behind": "ends behind its limit, in the order of the index",
    "oldest_of_newest": "ends at its limit, in the order of the primary key",
    "newest_of_sender": "ends at its limit, in the order of the index",
    "keep_origins": "a rebuild of the index takes everything",
    "expired_audit": "ends at its limit, in the order of the index",
    "first_audit": "ends at the first, in the order of the index",
    "recent_sources": "reads some hundred studies, in the order of the index",
    "worklist_files": "a worklist is a day's or a week's",
}
"""Names of fixed statements, and why they may."""
STUDY_BY_STUDY = frozenset(
    {
        *(tags.STUDY_TIME, tags.PATIENT_SEX, tags.INSTITUTION_NAME, tags.MODALITIES_IN_STUDY),
        *(tags.SOP_CLASSES_IN_STUDY, tags.NUMBER_OF_STUDY_RELATED_SERIES, tags.NUMBER_OF_STUDY_RELATED_INSTANCES),
    }
)
"""Keys with few values, or that are never asked for alone: studies are gone through by date until the page is full."""


@pytest.fixture
async def connection(tmp_path: Path) -> Any:
    database = await SQLite.open(tmp_path / "index.sqlite")
    await database.close()
    connection = sqlite3.connect(tmp_path / "index.sqlite")
    connection.execute("PRAGMA case_sensitive_like = ON")
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, query: Query) -> list[str]:
    count = max([0, *map(int, re.findall(r"\?(\d+)", query.qmark))])
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.qmark}", ["1"] * count)]


def scanned(connection: sqlite3.Connection, query: Query) -> set[str]:
    """The tables that grow and are gone through, with an index or without."""
    named = dict.fromkeys(GROWING, "") | {table: table for table in GROWING}
    for table, alias in re.findall(r"(?:FROM|JOIN)\s+(\w+)(?:\s+(?:AS\s+)?(\w+))?", query.sql):
        if table in GROWING:
            named[alias or table] = table
    steps = [step.split()[1] for step in plan(connection, query) if step.startswith("SCAN ")]
    return {named[step] for step in steps if named.get(step)}


def modules(package: ModuleType) -> list[ModuleType]:
    return [
        importlib.import_module(each.name) for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]


def fixed(value: object) -> Iterator[Query]:
    if isinstance(value, Query):
        yield value
    elif isinstance(value, ModuleType):
        for each in vars(value).values():
            if not isinstance(each, ModuleType):
                yield from fixed(each)
    elif isinstance(value, dict | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from fixed(each)


def test_fixed_statements_go_through_nothing_that_grows(connection: sqlite3.Connection) -> None:
    found = {
        query.name.partition(":")[0]: tables
        for module in (*modules(index), jobs, events, archive, deliveries, audit)
        for query in fixed(module)
        if not query.name.startswith("clear_") and (tables := scanned(connection, query))
    }
    assert found.keys() == GONE_THROUGH.keys(), found


def test_statements_that_are_made_for_a_number_of_keys(connection: sqlite3.Connection) -> None:
    made = [store.keys_present(3), archive.stored_instances(3)]
    made += [
        made([(column, ["1", "2"])])[0]
        for made in (selection.outlined, selection.selected_series, selection.selected_instances)
        for column in ("t.uid", "s.uid", *(["i.uid"] if made != selection.selected_series else []))
    ]
    made += [selection.selected_twice([(column, ["1", "2"])])[0] for column in ("t.uid", "s.uid", "i.uid")]
    made += [locate("1")[0], locate("1", "2")[0], locate("1", "2", "3")[0]]
    made += [
        of(level, 2)
        for of in (resources.by_row, resources.stamps, resources.around, annotations.added_to)
        for level in LEVELS
    ]
    made.append(study_list.labels(2))
    made += [annotations.came_from(level, 2) for level in ("series", "instance")]
    assert [query.name for query in made if scanned(connection, query)] == []


def value_of(match: matching.Matcher) -> list[str]:
    """One value, and where there are such, a pattern or range."""
    if match in (matching.date,):
        return ["20260101", "20260101-20260102"]
    if match is matching.time:
        return ["1200"]
    return ["1"] if match in (matching.integer, matching.uid, matching.sop_class) else ["X", "X*"]


def searches(level: Level, *, lower: bool) -> Iterator[tuple[int, str, Query]]:
    """A search by each key alone, as C-FIND and QIDO-RS make them."""
    for tag, (of, _column, match) in places.KEYS.items():
        if (places.DEPTH[of] > places.DEPTH[level]) == lower:
            for value in value_of(match):
                query, _ = search.search(Search(level, [(tag, value)], limit=25, below=True))
                yield tag, value, query


@pytest.mark.parametrize("level", ["patient", "study", "series", "instance"])
def test_searches_by_keys_of_the_study(connection: sqlite3.Connection, level: Level) -> None:
    """At no level is anything but studies gone through, and that for a few keys alone."""
    for tag, value, query in searches(level, lower=False):
        of = places.KEYS[tag][0]
        tables = scanned(connection, query)
        may = of not in ("study", "patient") or tag in STUDY_BY_STUDY or value.endswith("*")
        assert tables <= ({"studies"} if may else set()), (f"{tag:08X}", value, plan(connection, query))


@pytest.mark.parametrize("level", ["study", "series"])
def test_searches_by_keys_of_lower_levels(connection: sqlite3.Connection, level: Level) -> None:
    """UIDs are found by their indexes; for others studies are gone through, by date, until the page is full."""
    for tag, value, query in searches(level, lower=True):
        by_uid = tag in (tags.SERIES_INSTANCE_UID, tags.SOP_INSTANCE_UID)
        tables = scanned(connection, query)
        assert tables <= (set() if by_uid else {"studies"}), (f"{tag:08X}", value, plan(connection, query))


@pytest.mark.parametrize(
    ("level", "place"),
    [
        ("study", ("20260101", 1)),
        ("series", ("20260101", 1, 1)),
        ("instance", ("20260101", 1, 1, 1)),
        ("patient", (1,)),
    ],
)
def test_pages_end_when_they_are_full(connection: sqlite3.Connection, level: Level, place: search.Position) -> None:
    """The first page follows an index and sorts no more than a study; the next begins where the last has ended."""
    first = plan(connection, search.search(Search(level, limit=25))[0])
    following = plan(connection, search.search(Search(level, limit=25, after=place))[0])
    assert not any(step == "USE TEMP B-TREE FOR ORDER BY" for step in first + following)
    assert not any(step.startswith("SCAN") for step in following), following


def study_pages() -> Iterator[tuple[str, bool, Query]]:
    """The list of studies in each order: the first page, and one that begins behind another."""
    for order, keys in study_list.KEYS.items():
        source = {"name": study_list.NAMED, "labels": study_list.LABELLED}.get(order, study_list.STUDIES)
        for continued in (False, True):
            values = [f"${number}" for number in range(1, len(keys) + 1)]
            place = study_list.beyond(keys, values, descending=True) if continued else study_list.EVERY
            text = source.format(tag=tags.PATIENT_NAME, conditions=place)
            yield order, continued, study_list.page(text, keys, descending=True, limit="51")


def test_the_list_of_studies(connection: sqlite3.Connection) -> None:
    """By an index, without sorting more than the page; some orders, of which none is the first, go through studies."""
    sorted_anew = {"modality", "source", "series", "instances", "size", "labels"}
    for order, continued, query in study_pages():
        steps = plan(connection, query)
        tables, sorts = scanned(connection, query), sum(step == "USE TEMP B-TREE FOR ORDER BY" for step in steps)
        assert sorts == (2 if order in sorted_anew else 1), (order, steps)
        assert tables <= ({"studies"} if order in sorted_anew or not continued else set()), (order, continued, steps)
        found_by = ("(study=?)", "(level=? AND public_id=?)")
        assert not [step for step in steps if step.startswith("SEARCH o USING") and not step.endswith(found_by)], steps


@pytest.mark.parametrize(
    "condition",
    [
        study_list.HAS_NAME_LIKE.format(tag=1, pattern="'%X%'"),
        study_list.ACCESSION_NUMBER_LIKE.format(pattern="'X%'"),
        study_list.DESCRIPTION_LIKE.format(pattern="'%X%'"),
        study_list.HAS_LABEL.format(label="'X'"),
        study_list.FROM_SOURCE.format(source="'X'"),
    ],
)
def test_searches_in_the_list_of_studies(connection: sqlite3.Connection, condition: str) -> None:
    """A search goes through studies at most, never through more."""
    text = study_list.STUDIES.format(conditions=condition)
    query = study_list.page(text, study_list.KEYS["received"], descending=True, limit="51")
    assert scanned(connection, query) <= {"studies"}


@pytest.mark.parametrize(
    "names", [("user",), ("public_id",), ("study_uid",), ("action", "until"), ("since", "until"), ()]
)
def test_the_audit_log(connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
    """By the index of whatever is asked for, in the order of time, without sorting more than equal times."""
    query = audit.search(names)
    assert scanned(connection, query) == (set() if names else {"audit_log"})
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan(connection, query)


def test_a_scan_is_seen(connection: sqlite3.Connection) -> None:
    assert scanned(connection, Query("bad", "SELECT x.uid FROM instances x WHERE x.size = $1")) == {"instances"}


def test_nothing_has_been_analysed(connection: sqlite3.Connection) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert not any(name.startswith("sqlite_stat") for name in tables)


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_one_patient_alone(connection: sqlite3.Connection, level: Level) -> None:
    """By the index of patients or of UIDs; whether a UID is another patient's too is told by the row itself."""
    for study_uid in (None, "1.2"):
        query, _ = search.search(Search(level, study_uid=study_uid, patient="P", limit=25))
        assert not scanned(connection, query), plan(connection, query)


@pytest.mark.parametrize("level", LEVELS)
def test_searches_over_rest_in_any_case(connection: sqlite3.Connection, level: Level) -> None:
    """A Patient ID or accession number in any case is found by an index on its small letters."""
    for tag in (tags.PATIENT_ID, tags.ACCESSION_NUMBER):
        query, _ = search.rows_found(Search(level, [(tag, "X1")], any_case=True, below=True))
        assert not scanned(connection, query), plan(connection, query)


@pytest.mark.parametrize("level", LEVELS)
def test_everything_over_rest_comes_in_the_order_of_rows(connection: sqlite3.Connection, level: Level) -> None:
    """A page of everything is read off the table until it is full, and the next begins where it has ended."""
    first = plan(connection, search.rows_found(Search(level, limit=25))[0])
    assert not any("TEMP B-TREE" in step for step in first), first
    following = plan(connection, search.rows_found(Search(level, limit=25, after=(7,)))[0])
    assert not any(step.startswith("SCAN") for step in following), following


@pytest.mark.parametrize("level", LEVELS)
def test_searches_by_labels_look_into_their_index(connection: sqlite3.Connection, level: Level) -> None:
    for constraint in ("All", "Any"):
        labels = narrowing.labelled(level, ["a", "b"], constraint)  # type: ignore[arg-type]
        query, _ = search.rows_found(Search(level, narrowings=(labels,)))
        assert scanned(connection, query) <= {"studies"}, plan(connection, query)
