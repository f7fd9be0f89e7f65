"""Totals and the studies that last received something."""

from __future__ import annotations

import pytest

from gateway.database.sqlite import SQLite
from gateway.index.summary import Statistics, recent_studies, statistics
from tests.support.index import data_set, origin, placement, store


async def test_an_empty_index(database: SQLite) -> None:
    assert await statistics(database) == Statistics(0, 0, 0, 0, 0, 0)
    assert await recent_studies(database) == []


async def test_totals(database: SQLite) -> None:
    for n in range(6):
        source = data_set(study=f"1.{n % 3}", series=f"1.{n % 3}.{n % 2}", PatientID=f"P{n % 2}")
        await store(database, source, placement(size=10))
    assert await statistics(database) == Statistics(2, 6, 6, 6, 60, 0)


async def test_newest_first_in_pages(database: SQLite) -> None:
    for n in range(5):
        await store(database, data_set(study=f"1.{n}"), None, origin(100.0 + n // 2))
    await store(database, data_set(study="1.0"), None, origin(200.0))
    seen, after = [], None
    while page := await recent_studies(database, limit=2, after=after):
        seen += [study.study_uid for study in page]
        after = (page[-1].last_received, page[-1].id)
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
    (study,) = await recent_studies(database)
    assert (study.patient_name, study.patient_id, study.patient_sex) == ("Müller^Jörg", "P1", "M")
    assert (study.accession_number, study.description, study.date) == ("A7", "Knie links", "20260102")
    assert (study.modalities, study.series, study.instances, study.size) == (["CT", "SR"], 2, 2, 15)
    assert study.last_received == 6.0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"patient": "doe"}, "01"),
        ({"patient": "JANE doe"}, "0"),
        ({"patient": "Doe, Jane"}, "0"),
        ({"patient": "Doe^J"}, "01"),
        ({"patient": "id-2"}, ""),
        ({"patient": "ID-2"}, "2"),
        ({"patient": "%"}, ""),
        ({"patient": "山田"}, "2"),
        ({"patient": ","}, ""),
        ({"patient": " "}, "012"),
        ({"accession_number": "A1"}, "1"),
        ({"accession_number": "A"}, "012"),
        ({"modality": "mr"}, "1"),
        ({"modality": "M"}, ""),
        ({"patient": "doe", "modality": "CT"}, "0"),
    ],
)
async def test_search(database: SQLite, asked: dict[str, str], expected: str) -> None:
    for n, (name, modality) in enumerate([("Doe^Jane", "CT"), ("DOE^John", "MR"), ("Yamada=山田^太郎", "US")]):
        source = data_set(
            study=f"1.{n}",
            SpecificCharacterSet="ISO_IR 192",
            PatientName=name,
            PatientID=f"ID-{n}",
            AccessionNumber=f"A{n}",
            Modality=modality,
        )
        await store(database, source)
    assert {study.study_uid[-1] for study in await recent_studies(database, **asked)} == set(expected)
