"""What unique keys select: counts, order, pages, lists of UIDs longer than one statement takes."""

from __future__ import annotations

import pytest

from gateway.database.sqlite import SQLite
from gateway.index import selection as module
from gateway.index.selection import InstanceGroup, Selection, outline, selected
from tests.support.datasets import CT, EXPLICIT
from tests.support.index import data_set
from tests.support.index import fill as store_all


async def fill(database: SQLite) -> None:
    sources = [
        data_set(study, f"{study}.{series}", f"{study}.{series}.{number}", SeriesNumber=series, InstanceNumber=number)
        for study in ("1.1", "1.2")
        for series in (1, 2)
        for number in (3, 2, 1)
    ]
    await store_all(database, [*sources, data_set("2.1", PatientID="P2")])


ALL = [f"1.{study}.{series}.{number}" for study in (1, 2) for series in (1, 2) for number in (1, 2, 3)]

CASES = [
    (Selection(patient_id="P1"), ALL),
    (Selection(studies=("1.2",)), ALL[6:]),
    (Selection(patient_id="P2", studies=("1.2",)), []),
    (Selection(patient_id="P1", studies=("1.2", "2.1")), ALL[6:]),
    (Selection(studies=("1.1",), series=("1.1.2", "1.2.1")), ALL[3:6]),
    (Selection(series=("1.1.2",), instances=("1.1.2.3", "1.1.2.1", "1.1.2.3", "9.9")), ["1.1.2.1", "1.1.2.3"]),
    (Selection(instances=("nothing' OR 1=1 --",)), []),
]


@pytest.mark.parametrize(("selection", "expected"), CASES)
@pytest.mark.parametrize("page", [2, 500])
async def test_what_is_selected(
    database: SQLite, monkeypatch: pytest.MonkeyPatch, selection: Selection, expected: list[str], page: int
) -> None:
    monkeypatch.setattr(module, "PAGE", page)
    await fill(database)
    found = [located async for located in selected(database, selection)]
    assert [located.sop_uid for located in found] == expected
    size = sum(located.size for located in found)
    assert await outline(database, selection) == (
        [InstanceGroup(CT, EXPLICIT, len(expected), size)] if expected else []
    )


async def test_lists_longer_than_a_statement_takes(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_UIDS", 2)
    await fill(database)
    for selection in (Selection(instances=tuple(reversed(ALL))), Selection(studies=("1.1", "1.2", "1.1", "3"))):
        found = [located.sop_uid async for located in selected(database, selection)]
        assert sorted(found) == ALL
        assert [group.count for group in await outline(database, selection)] == [12]
