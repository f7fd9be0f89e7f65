"""gateway/index/visibility.py: what roles show is what a filter in Python leaves, and nothing tells of the rest."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import pkgutil
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.roles import Role
from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.database.view import seeing
from gateway.events import changes
from gateway.events import queries as events
from gateway.events.changes import last_change, read_changes
from gateway.forwarding import queries as forwarding
from gateway.index import queries as index
from gateway.index.annotations import add_label
from gateway.index.identity import owned, public_id
from gateway.index.locate import counted_resources, identified, located_page
from gateway.index.queries import visibility
from gateway.index.queries.columns import CLASHING_PATIENT
from gateway.index.summary import statistics
from gateway.index.visibility import visible, visible_again
from gateway.jobs import queries as jobs
from gateway.remote import queries as remote
from gateway.workflow import queries as workflow
from tests.support.index import data_set, origin, store

NOW = 1_000_000.0 * 300
DAY_S = 86400
WITHOUT_PATIENTS = {
    "schema_version": "of the schema",
    "garbage": "storage keys, which no request is answered with",
    "segments": "files of the store, and how much of each is used",
    "rebuild_origins": "storage keys, while the index is rebuilt by a command",
    "metadata": "under a tag that is made of what a view shows; a row is found by nothing else",
    "lanes": "names of destinations and systems, for those who may route",
    "examined": "how far the gateway has looked at its own archive",
    "deleted_instances": "versions by public id, which the intake alone reads",
    "unreadable_files": "storage keys, while the index is rebuilt by a command",
    "remote_systems": "systems that users have added",
    "stability_watch": "how far the gateway has looked at the change log",
    "resource_edits": "a count of changes, for the cache of answers",
    "audit_marks": "how far the audit log has been sent on, and where it begins",
    "issued_tokens": "of users, who see their own; links name studies that their makers saw",
    "access_changes": "passwords and roles",
    "emergency_access": "of users",
    "association_records": "who called, for those who may change settings",
    "saved_searches": "of users, who see their own",
    "rule_versions": "rules, for those who may change settings",
    "backups": "folders, for who erases",
    "sqlite_sequence": "of SQLite",
}
"""Tables that are not in a view, and why."""


@dataclasses.dataclass(frozen=True)
class Study:
    patient: str
    number: int
    source: str
    age_days: float
    labels: tuple[str, ...]
    patient_labels: tuple[str, ...] = ()
    tenant: str = ""

    @property
    def uid(self) -> str:
        return f"1.2.{self.number}"

    @property
    def public_id(self) -> str:
        return public_id(self.owner, self.uid)

    @property
    def owner(self) -> str:
        return owned(self.patient, self.tenant)


LABELS, SOURCES, PATIENTS = ("red", "blue"), ("CT1", "MR1"), ("P1", "P2", "Q_1")
TENANTS = ("", "a", "b")
OWNERS = [owned(patient, tenant) for patient in PATIENTS for tenant in TENANTS]
UIDS = st.integers(1, 6).map("1.2.{}".format)
ROLES = st.builds(
    Role,
    permissions=st.just(("view",)),
    labels=st.lists(st.sampled_from(LABELS), max_size=2, unique=True).map(tuple),
    without_labels=st.lists(st.sampled_from(LABELS), max_size=1).map(tuple),
    sources=st.lists(st.sampled_from(SOURCES), max_size=1).map(tuple),
    patients=st.lists(st.sampled_from((*PATIENTS, "P*", "*1", "Q%1", "p1")), max_size=2, unique=True).map(tuple),
    studies=st.lists(st.one_of(UIDS, st.builds(public_id, st.sampled_from(OWNERS), UIDS)), max_size=2).map(tuple),
    days=st.sampled_from((None, None, 1.0, 30.0)),
    tenant=st.sampled_from(TENANTS),
)
STUDIES = st.lists(
    st.builds(
        Study,
        patient=st.sampled_from(PATIENTS),
        number=st.integers(1, 6),
        source=st.sampled_from(SOURCES),
        age_days=st.sampled_from((0.1, 5.0, 100.0)),
        labels=st.lists(st.sampled_from(LABELS), max_size=2, unique=True).map(tuple),
        tenant=st.sampled_from(TENANTS),
    ),
    max_size=6,
    unique_by=lambda study: (study.owner, study.number),
)


def shows(role: Role, study: Study) -> bool:
    labels = {*study.labels, *study.patient_labels}
    return (
        (not role.labels or bool(labels & set(role.labels)))
        and not labels & set(role.without_labels)
        and (not role.sources or study.source in role.sources)
        and (not role.patients or any(fnmatchcase(study.patient, each) for each in role.patients))
        and (not role.studies or not {study.uid, study.public_id}.isdisjoint(role.studies))
        and (role.days is None or study.age_days <= role.days)
        and role.tenant in ("", study.tenant)
    )


async def fill(database: SQLite, studies: list[Study]) -> list[Study]:
    """Store one instance of each; the studies with the labels that their patients then have."""
    for study in studies:
        came = origin(NOW - study.age_days * DAY_S, study.tenant)
        came = dataclasses.replace(came, calling_aet=study.source)
        await store(
            database, data_set(study.uid, f"{study.uid}.5", f"{study.uid}.5.7", PatientID=study.patient), None, came
        )

    def script() -> Script[None]:
        for study in studies:
            for label in study.labels:
                yield from add_label("study", study.public_id, label)
        if any(study.owner == "P2" for study in studies):
            yield from add_label("patient", public_id("P2"), "red")

    await database.write(script)
    return [dataclasses.replace(each, patient_labels=("red",) if each.owner == "P2" else ()) for each in studies]


@settings(max_examples=60)
@given(studies=STUDIES, holders=st.lists(st.lists(ROLES, max_size=2), min_size=1, max_size=2))
def test_a_view_shows_what_a_filter_leaves(studies: list[Study], holders: list[list[Role]]) -> None:
    asyncio.run(check_filter(studies, holders))


async def check_filter(studies: list[Study], holders: list[list[Role]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = await SQLite.open(Path(folder) / "index.db")
        try:
            stored = await fill(database, studies)
            seen = [each for each in stored if all(any(shows(role, each) for role in roles) for roles in holders)]
            view = visible(*holders, now=NOW)
            if view is None:
                assert all(any(not role.has_conditions for role in roles) for roles in holders)
            with seeing(view):
                found = await statistics(database)
                patients = {each.owner for each in seen}
                assert (found.patients, found.studies, found.instances) == (len(patients), len(seen), len(seen))
                assert found.size == 1000 * len(seen)
                by_patient = await counted_resources(database, [public_id(each) for each in OWNERS])
                counts = {each: sum(one.owner == each for one in seen) for each in patients}
                assert {key: each.instances for key, each in by_patient.items()} == {
                    public_id(each): count for each, count in counts.items()
                }
                for each in {one.uid for one in stored}:
                    there = [one for one in seen if one.uid == each]
                    for above in ((each,), (each, f"{each}.5"), (each, f"{each}.5", f"{each}.5.7")):
                        assert [one.study_uid for one in await located_page(database, *above)] == [each] * len(there)
                for owner in {each.owner for each in stored}:
                    pages = [page async for page in identified(database, "patient", public_id(owner))]
                    assert {study for page in pages for (_, study, *_), _ in page} == {
                        each.public_id for each in seen if each.owner == owner
                    }
                clashing = Query("clashing", f"SELECT t.uid FROM studies t WHERE {CLASHING_PATIENT} <> ''")
                uids = [each.uid for each in seen]
                assert sorted(uid for (uid,) in await database.fetch(clashing)) == sorted(
                    uid for uid in uids if uids.count(uid) > 1
                )
                of_studies = Query("changes", "SELECT public_id FROM changes WHERE level = 'Study'")
                assert {each for (each,) in await database.fetch(of_studies)} == {each.public_id for each in seen}
        finally:
            await database.close()


class TestTables:
    """No table is left out of the view without a reason."""

    async def test_all(self, tmp_path: Path) -> None:
        tables = await schema(tmp_path)
        view = visible([])
        assert view is not None
        shown = dict(view.tables).keys() - {"shown_studies"}
        assert shown | WITHOUT_PATIENTS.keys() == tables.keys()
        assert not shown & WITHOUT_PATIENTS.keys()

    async def test_all_columns_of_studies(self, tmp_path: Path) -> None:
        columns = (await schema(tmp_path))["studies"]
        named = re.findall(r"\bv\.(\w+),|AS (\w+),|\bv\.(\w+) FROM", visibility.STUDIES)
        assert ["".join(each) for each in named] == columns

    async def test_each_comes_after_those_it_names(self) -> None:
        view = visible([])
        assert view is not None
        names = [name for name, _rows in view.tables]
        for at, (name, rows) in enumerate(view.tables):
            used = set(re.findall(r"(?<!\.)\b(\w+)\b", rows)) & set(names[at + 1 :])
            assert not used, name


async def schema(folder: Path) -> dict[str, list[str]]:
    """The columns of all tables."""
    database = await SQLite.open(folder / "schema.db")
    await database.close()
    connection = sqlite3.connect(folder / "schema.db")
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in names}
    finally:
        connection.close()


def statements() -> Iterator[Query]:
    """Every fixed statement that reads."""
    modules: list[ModuleType] = [events, forwarding, jobs, remote, workflow]
    modules += [
        importlib.import_module(each.name) for each in pkgutil.walk_packages(index.__path__, f"{index.__name__}.")
    ]
    for module in modules:
        for value in vars(module).values():
            found = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
            for each in found:
                for query in each if isinstance(each, tuple) else [each]:
                    if isinstance(query, Query) and query.sql.lstrip().startswith(("SELECT", "WITH")):
                        yield query


async def test_every_statement_can_be_read_through_a_view(tmp_path: Path) -> None:
    await schema(tmp_path)
    role = Role(permissions=("view",), labels=("a", "b"), sources=("CT",), patients=("P*", "Q"), days=3)
    view = visible([role], [Role(permissions=("view",), without_labels=("c",))], reader="anna")
    assert view is not None
    connection = sqlite3.connect(tmp_path / "schema.db")
    try:
        seen = 0
        for query in statements():
            count = max([0, *map(int, re.findall(r"\$(\d+)", query.sql))])
            narrowed, parameters = view.narrow(query, [1] * count, "main")
            connection.execute(f"EXPLAIN {narrowed.qmark}", parameters)
            seen += narrowed.sql != query.sql
        assert seen > 60
    finally:
        connection.close()


class TestView:
    def test_of_whoever_sees_everything(self) -> None:
        everything, part = Role(permissions=("view",)), Role(permissions=("view",), labels=("a",))
        assert visible([everything]) is None
        assert visible([part, everything], [everything]) is None
        assert visible() is None
        assert visible([part], [everything]) == visible([part])

    def test_is_the_same_for_a_while(self) -> None:
        role = Role(permissions=("view",), days=1)
        assert visible([role], now=NOW) is visible([role], now=NOW + 299)
        assert visible([role], now=NOW) != visible([role], now=NOW + 300)

    def test_can_be_made_again(self) -> None:
        role = Role(permissions=("view",), labels=("a",), patients=("x*",))
        view = visible([role], reader="anna")
        assert view is not None
        assert visible_again(view.origin) == view
        assert visible_again("") is None

    async def test_a_label_of_a_role_is_one_label(self, tmp_path: Path) -> None:
        """Not a part of one, nor two, nor one in other letters."""
        database = await SQLite.open(tmp_path / "index.db")
        try:
            await fill(database, [Study("P1", 1, "CT1", 0, ("red", "blue"))])
            for label in ("re", "ed", "RED", "red/blue", "blue/red", "/", "", "red/", "/red/"):
                with seeing(visible([Role(permissions=("view",), labels=(label,))])):
                    assert await identifiers_of(database) == [], label
                with seeing(visible([Role(permissions=("view",), without_labels=(label,))])):
                    assert len(await identifiers_of(database)) == 1, label
        finally:
            await database.close()

    @pytest.mark.parametrize("value", ["{schema}", "'; DROP TABLE studies; --", "$1", "{}", "%", "a\0b"])
    async def test_values_are_never_sql(self, tmp_path: Path, value: str) -> None:
        database = await SQLite.open(tmp_path / "index.db")
        try:
            await fill(database, [Study("P1", 1, "CT1", 0, ())])
            for name in ("labels", "sources", "patients", "studies"):
                role = Role(**{"permissions": ("view",), name: (value,)})  # type: ignore[arg-type]
                with seeing(visible([role], reader=value)):
                    assert await identifiers_of(database) == []
        finally:
            await database.close()


async def identifiers_of(database: SQLite) -> list[str]:
    return [public for public, *_ in await database.fetch(Query("studies", "SELECT public_id FROM studies"))]


async def test_what_happens_to_a_patient_who_is_seen_in_part(tmp_path: Path) -> None:
    """The patient is seen with the studies that are; when something came of others is not."""
    database = await SQLite.open(tmp_path / "index.db")
    try:
        await fill(
            database,
            [Study("P1", 1, "CT1", 0, ("red",)), Study("P1", 2, "CT1", 0, ()), Study("Q", 3, "CT1", 0, ("red",))],
        )
        of_patients = Query("patients", "SELECT public_id FROM changes WHERE level = 'Patient' ORDER BY 1")
        with seeing(visible([Role(permissions=("view",), labels=("red",))])):
            assert await database.fetch(of_patients) == [(public_id("Q"),)]
    finally:
        await database.close()


async def test_the_change_log_is_looked_through_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the parts, it is as if only the changes that are seen were there."""
    database = await SQLite.open(tmp_path / "index.db")
    try:
        await fill(
            database, [Study("P1", number, "CT1", 0, ("red",) if number in (2, 5) else ()) for number in range(1, 8)]
        )
        every = (await read_changes(database, limit=1000)).changes
        with seeing(visible([Role(permissions=("view",), labels=("red",))])):
            for size in (1, 3, 10_000):
                monkeypatch.setattr(changes, "_MAX_LOOKED_AT", size)
                seen = [each for each in every if each.study_uid in ("1.2.2", "1.2.5")]
                seen = [each for each in seen if each.level != "Patient"]
                assert (await read_changes(database)).changes == seen
                assert await last_change(database) == seen[-1].seq
                for limit in (1, 2, len(seen)):
                    first, last = (
                        await read_changes(database, limit=limit),
                        await read_changes(database, to=99, limit=limit),
                    )
                    assert (first.changes, last.changes) == (seen[:limit], seen[-limit:])
                    assert first.is_last is last.is_last is (limit == len(seen))
                assert (await read_changes(database, since=seen[-1].seq)).changes == []
    finally:
        await database.close()
