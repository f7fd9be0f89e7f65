"""The list of studies over a table with many: how much the database does for a page, in steps of its machine.

Steps are the same on every run and every machine. A page in the order of an index costs what it does over few studies;
whatever else is asked for costs a bounded number of steps for each study, and nothing for their instances.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.database.database import Query
from gateway.database.sqlite import SQLite
from gateway.index.annotations import all_labels
from gateway.index.study_list import ORDERS, StudyConditions, count_studies, list_studies, recent_sources
from tests.support.index import data_set, origin, store

FEW, MANY = 128, 4096
SORTED_ANEW = {"modality", "source", "series", "instances", "size", "labels"}
"""Orders in which the database sorts all that have a place in it."""
FOR_EACH_STUDY = 120
"""Steps, at most, for each study of the table."""


class Counting:
    """A database that counts the steps of what it is asked."""

    def __init__(self, file: Path) -> None:
        self.steps = 0
        self._connection = sqlite3.connect(file)
        self._connection.execute("PRAGMA case_sensitive_like = ON")
        self._connection.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self.steps += 1
        return 0

    async def fetch(self, query: Query, *parameters: Any) -> Sequence[Any]:
        return self._connection.execute(query.qmark, parameters).fetchall()

    def close(self) -> None:
        self._connection.close()


async def filled(file: Path, count: int) -> None:
    """Make an index of studies with two series of one instance each: four of them stored, the others like them."""
    database = await SQLite.open(file)
    for n in range(4):
        for series in ("1", "2"):
            named = {"PatientName": f"N{n}^X", "AccessionNumber": f"A{n}", "StudyDescription": f"D{n}"}
            source = data_set(f"1.{n}", f"1.{n}.{series}", PatientID=f"P{n}", Modality=("CT", "MR")[n % 2], **named)
            await store(database, source, None, origin(100.0 + n))
    await database.close()
    with sqlite3.connect(file) as connection:
        columns = {
            table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for table in ("patients", "studies", "person_names", "series", "instances")
        }
        size = 4
        while size < count:
            moved = {"id": f"id + {size}", "patient": f"patient + {size}", "study": f"study + {size}"}
            moved |= {name: f"{name} || '{size}'" for name in ("public_id", "uid", "patient_id", "name", "key")}
            moved |= {name: f"{name} || '{size}'" for name in ("accession_number", "description")}
            moved |= {"last_received": f"last_received + {size}", "date": f"date + {size}"}
            for table, names in columns.items():
                made = {**moved, **({"id": f"id + {2 * size}"} if table in ("series", "instances") else {})}
                made |= {"series": f"series + {2 * size}"}
                chosen = ", ".join([made.get(name, name) for name in names])
                connection.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} FROM {table}")
            size *= 2
        connection.execute(
            "INSERT INTO resource_labels SELECT 'study', public_id, 'label' || id % 3 FROM studies WHERE id % 2 = 0"
        )
    connection.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sizes")


@pytest.fixture
async def sizes(folder: Path) -> Any:
    """An index of few studies and one of many."""
    found = []
    for count in (FEW, MANY):
        file = folder / f"{count}.sqlite"
        if not file.exists():
            await filled(file, count)
        found.append(Counting(file))
    yield found
    for each in found:
        each.close()


async def cost(database: Any, **asked: Any) -> int:
    database.steps = 0
    found = await list_studies(database, limit=51, **asked)
    assert len(found) == 51
    return int(database.steps)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", ORDERS)
async def test_a_page_in_each_order(sizes: list[Counting], order: str, descending: bool) -> None:
    few, many = [await cost(each, order=order, descending=descending) for each in sizes]
    assert many < FOR_EACH_STUDY * MANY if order in SORTED_ANEW else many < 2 * few


@pytest.mark.parametrize("order", ORDERS)
async def test_a_page_far_behind(sizes: list[Counting], order: str) -> None:
    many: Any = sizes[1]
    first = await cost(many, order=order)
    deep = (await list_studies(many, order=order, limit=MANY // 3))[-1].position
    behind = await cost(many, order=order, after=deep)
    before = await cost(many, order=order, before=deep)
    for each in (behind, before):
        assert each < FOR_EACH_STUDY * MANY if order in SORTED_ANEW else each < 2 * first


@pytest.mark.parametrize(
    "wanted",
    [
        StudyConditions(patient="nobody"),
        StudyConditions(patient="N1 X"),
        StudyConditions(accession_number="none"),
        StudyConditions(description="none"),
        StudyConditions(modalities=("ZZ", "YY")),
        StudyConditions(source="NONE"),
        StudyConditions(labels=("none",)),
        StudyConditions(labels=("label0", "label1")),
        StudyConditions(since="20990101", until="20990102"),
        StudyConditions(patient="x", description="d", modalities=("ZZ",), source="SENDER", labels=("label0",)),
    ],
)
async def test_searches_that_find_little(sizes: list[Counting], wanted: StudyConditions) -> None:
    many: Any = sizes[1]
    for order in ("received", "name", "size", "labels"):
        many.steps = 0
        await list_studies(many, wanted, order=order)
        assert many.steps < FOR_EACH_STUDY * MANY, order
    many.steps = 0
    await count_studies(many, wanted, 1001)
    assert many.steps < FOR_EACH_STUDY * MANY


async def test_what_stands_around_the_list(sizes: list[Counting]) -> None:
    few, many = [0, 0], [0, 0]
    for found, database in ((few, sizes[0]), (many, sizes[1])):
        for at, read in enumerate((all_labels, recent_sources)):
            database.steps = 0
            await read(database)  # type: ignore[arg-type]
            found[at] = database.steps
    assert many[0] < 20 * MANY
    assert many[1] < 8 * few[1]  # It reads up to 500 studies.


async def test_counting_ends(sizes: list[Counting]) -> None:
    many: Any = sizes[1]
    assert await count_studies(many, StudyConditions(), 1001) == 1001
    whole, many.steps = many.steps, 0
    assert await count_studies(many, StudyConditions(), 101) == 101
    assert many.steps < whole / 5
