"""Finding the files of a study, series or instance, in order and in pages."""

from __future__ import annotations

import pytest

from gateway.database.sqlite import SQLite
from gateway.forwarding.queries import INSTANCE
from gateway.forwarding.table import deliverable
from gateway.index import locate as module
from gateway.index.identity import public_id
from gateway.index.locate import START, Located, every_located, located_by_public_id, located_page
from gateway.index.selection import Selection, selected
from tests.support.index import data_set, fill, origin, placement, store

ONE = public_id("P1", "1.2.3", "1.2.3.1", "1.9")


async def everything(database: SQLite, *uids: str) -> list[Located]:
    return [instance async for instance in every_located(database, *uids)]


async def test_a_study_in_order(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(
        database,
        [
            data_set(series=f"1.2.3.{series}", SeriesNumber=9 - series, InstanceNumber=number)
            for number in (3, 1, 2)
            for series in (1, 2)
        ],
    )
    await fill(database, [data_set(series="1.2.3.3"), data_set(series="1.2.3.1", SeriesNumber=8), data_set("1.5")])
    whole = await everything(database, "1.2.3")
    assert [instance.series_uid[-1] for instance in whole] == ["2", "2", "2", "1", "1", "1", "1", "3"]
    assert [instance.position[2] for instance in whole[:6]] == [1, 2, 3, 1, 2, 3]
    for size in (1, 2, 3, 8):
        monkeypatch.setattr(module, "PAGE", size)
        pages, after = [], START
        while page := await located_page(database, "1.2.3", after=after, limit=size):
            pages += page
            after = page[-1].position
        assert pages == whole


async def test_a_series_an_instance_and_nothing(database: SQLite) -> None:
    source = data_set(sop="1.9", InstanceNumber=5)
    await store(database, source, placement("KEY", 4711), origin())
    await fill(database, [data_set(), data_set(series="1.2.3.2")])
    assert len(await everything(database, "1.2.3", "1.2.3.1")) == 2
    (found,) = await everything(database, "1.2.3", "1.2.3.1", "1.9")
    assert (found.study_uid, found.series_uid, found.sop_uid) == ("1.2.3", "1.2.3.1", "1.9")
    assert found.sop_class_uid == source.SOPClassUID
    assert (found.key, found.size, found.data_set_offset, found.version) == ("KEY", 4711, 340, 1)
    assert found.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert await everything(database, "1.2.3", "1.2.3.2", "1.9") == []
    assert await everything(database, "1.9") == []


async def test_the_same_study_uid_of_two_patients(database: SQLite) -> None:
    await fill(database, [data_set(sop="1.9"), data_set(sop="1.9", PatientID="P2")])
    assert len(await everything(database, "1.2.3", "1.2.3.1", "1.9")) == 2


async def test_a_new_version_has_a_new_key(database: SQLite) -> None:
    await store(database, data_set(sop="1.9"), placement("OLD"))
    await store(database, data_set(sop="1.9"), placement("NEW"), replaces="OLD")
    (found,) = await everything(database, "1.2.3")
    assert (found.key, found.version) == ("NEW", 2)


@pytest.mark.case("item 6 the columns that say where an instance is are listed once, and read once")
async def test_every_statement_that_locates_has_the_same_columns(database: SQLite) -> None:
    await store(database, data_set(sop="1.9", SeriesNumber=3, InstanceNumber=5), placement("KEY", 4711), origin())
    await store(database, data_set(sop="1.9", PatientID="P2"), placement("OTHER"), origin())
    for found in (
        [one for one in await everything(database, "1.2.3") if one.key == "KEY"],
        [one async for one in located_by_public_id(database, "instance", ONE)],
        [one async for one in selected(database, Selection(patient_id="P1", instances=("1.9",)))],
        [one async for one in selected(database, Selection(patient_id="P1", studies=("1.2.3",)))],
        [deliverable(row).located for row in await database.fetch(INSTANCE, ONE)],
    ):
        (one,) = found
        assert (one.key, one.size, one.position[0], one.position[2], one.version) == ("KEY", 4711, 3, 5, 1)
        assert one.clashing_patient == public_id("P1")
    (whole,) = [deliverable(row) for row in await database.fetch(INSTANCE, ONE)]
    assert (whole.instance, whole.lacking) == (ONE, "")
