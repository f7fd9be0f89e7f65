"""Studies as a person looks for them: filters, orders, and pages in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.database.sqlite import SQLite
from gateway.index.annotations import add_label
from gateway.index.study_list import ORDERS, ListedStudy, StudyConditions, is_position, list_studies, recent_sources
from tests.support.index import data_set, origin, placement, store


def test_positions_of_other_orders_are_none() -> None:
    assert is_position((5.0, 7), "received")
    assert is_position(("20260101", 7), "date")
    for place in [(), (1,), ("x", 7), (1 << 70, 7), (5.0, "7"), (5.0, 7, 7)]:
        assert not is_position(place, "received")


async def several(database: SQLite) -> None:
    """Seven studies, of which two have no name, and others share what they are ordered by."""
    for n in range(7):
        named = {"PatientName": f"N{n % 3}^X"} if n < 5 else {"PatientName": ""}
        source = data_set(
            study=f"1.{n}",
            PatientID=f"P{n // 2}",
            AccessionNumber=f"A{n % 2}",
            StudyDescription=f"D{n % 4}",
            StudyDate=f"2026010{n % 3 + 1}",
            Modality=("CT", "MR")[n % 2],
            **named,
        )
        await store(database, source, placement(size=10 + n % 2), origin(100.0 + n // 2))
    for n, study in enumerate(await list_studies(database)):
        for label in ("b", "a")[: n % 3]:
            await database.write(lambda study=study, label=label: add_label("study", study.public_id, label))  # type: ignore[misc]


async def pages(database: SQLite, *, backwards: bool, **asked: Any) -> list[ListedStudy]:
    seen: list[ListedStudy] = []
    place = None
    if backwards:
        place = (await list_studies(database, limit=50, **asked))[-1].position
        seen = (await list_studies(database, limit=50, **asked))[-1:]
    while page := await list_studies(database, limit=2, **{"before" if backwards else "after": place}, **asked):
        seen = [*page, *seen] if backwards else [*seen, *page]
        place = (page[0] if backwards else page[-1]).position
    return seen


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", ORDERS)
async def test_pages_in_every_order(database: SQLite, order: str, descending: bool) -> None:
    await several(database)
    whole = await list_studies(database, order=order, descending=descending)
    assert len(whole) == 7
    keys = [study.position for study in whole if study.position[0] != "" or order not in ("name", "labels")]
    assert keys == sorted(keys, reverse=descending)
    if order == "name":
        assert [study.patient_name for study in whole][-2:] == ["", ""]
    if order == "labels":
        firsts = [study.labels[:1] for study in whole]
        assert firsts == [*sorted(firsts[:4], reverse=descending), (), (), ()]
    for backwards in (False, True):
        assert await pages(database, backwards=backwards, order=order, descending=descending) == whole


async def test_a_name_in_several_scripts_is_one_row(database: SQLite) -> None:
    await store(
        database, data_set(SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    )
    (study,) = await list_studies(database, order="name")
    assert study.patient_name == "Yamada^Tarou=山田^太郎=やまだ^たろう"


async def test_labels_and_sources(database: SQLite) -> None:
    for n in range(3):
        await store(database, data_set(study=f"1.{n}"), None, origin(100.0 + n))
    first, second, _ = [study.public_id for study in await list_studies(database)]
    for public_id, label in ((first, "urgent"), (first, "seen"), (second, "seen")):
        await database.write(lambda public_id=public_id, label=label: add_label("study", public_id, label))  # type: ignore[misc]
    for labels, count in ((("seen",), 2), (("seen", "urgent"), 1), (("other",), 0)):
        assert len(await list_studies(database, StudyConditions(labels=labels))) == count
    assert [study.labels for study in await list_studies(database)] == [("seen", "urgent"), ("seen",), ()]
    (source,) = await recent_sources(database)
    assert len(await list_studies(database, StudyConditions(source=source))) == 3
    assert await list_studies(database, StudyConditions(source="OTHER")) == []


async def test_dates(database: SQLite) -> None:
    for n, day in enumerate(["20260101", "20260102", "", "20260103"]):
        await store(database, data_set(study=f"1.{n}", StudyDate=day))
    for since, until, found in (
        ("20260102", "", "13"),
        ("", "20260102", "01"),
        ("20260102", "20260102", "1"),
        ("", "", "0123"),
    ):
        studies = await list_studies(database, StudyConditions(since=since, until=until))
        assert {study.study_uid[-1] for study in studies} == set(found)


async def test_newest_first_in_pages(database: SQLite) -> None:
    for n in range(5):
        await store(database, data_set(study=f"1.{n}"), None, origin(100.0 + n // 2))
    await store(database, data_set(study="1.0"), None, origin(200.0))
    seen, after = [], None
    while page := await list_studies(database, limit=2, after=after):
        seen += [study.study_uid for study in page]
        after = page[-1].position
    assert seen == ["1.0", "1.4", "1.3", "1.2", "1.1"]


async def test_what_a_row_says(database: SQLite) -> None:
    source = data_set(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jörg",
        PatientSex="M",
        AccessionNumber="A7",
        StudyDescription="Knie links",
    )
    await store(database, source, placement(size=10), origin(5.0))
    await store(database, data_set(series="1.2.3.2", Modality="SR"), placement(size=5), origin(6.0))
    (study,) = await list_studies(database)
    assert (study.patient_name, study.patient_id, study.patient_sex) == ("Müller^Jörg", "P1", "M")
    assert (study.accession_number, study.description, study.date) == ("A7", "Knie links", "20260102")
    assert (study.modalities, study.series, study.instances, study.size) == (("CT", "SR"), 2, 2, 15)
    assert study.last_received == 6.0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"patient": "doe"}, "01"),
        ({"patient": "JANE doe"}, "0"),
        ({"patient": "Doe, Jane"}, "0"),
        ({"patient": "Doe^J"}, "01"),
        ({"patient": "id-2"}, "2"),
        ({"patient": "ID-2"}, "2"),
        ({"patient": "%"}, ""),
        ({"patient": "山田"}, "2"),
        ({"patient": ","}, ""),
        ({"patient": " "}, "012"),
        ({"accession_number": "a1"}, "1"),
        ({"accession_number": "A"}, "012"),
        ({"modalities": ("MR",)}, "1"),
        ({"modalities": ("MR", "US")}, "12"),
        ({"description": "HEAD 1"}, "1"),
        ({"description": "%"}, ""),
        ({"modalities": ("M",)}, ""),
        ({"patient": "doe", "modalities": ("CT",)}, "0"),
    ],
)
async def test_search(database: SQLite, asked: dict[str, Any], expected: str) -> None:
    for n, (name, modality) in enumerate([("Doe^Jane", "CT"), ("DOE^John", "MR"), ("Yamada=山田^太郎", "US")]):
        source = data_set(
            study=f"1.{n}",
            SpecificCharacterSet="ISO_IR 192",
            PatientName=name,
            PatientID=f"ID-{n}",
            AccessionNumber=f"A{n}",
            Modality=modality,
            StudyDescription=f"Head {n}",
        )
        await store(database, source)
    assert {study.study_uid[-1] for study in await list_studies(database, StudyConditions(**asked))} == set(expected)
