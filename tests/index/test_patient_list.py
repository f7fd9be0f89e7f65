"""Patients as a person looks for them, page by page in both directions."""

from __future__ import annotations

from gateway.database.sqlite import SQLite
from gateway.index.annotations import add_label
from gateway.index.patient_list import list_patients
from tests.support.index import data_set, origin, placement, store


async def test_what_a_row_says(database: SQLite) -> None:
    for n in range(2):
        source = data_set(study=f"1.{n}", PatientName="Doe^Jane", PatientBirthDate="19700102", PatientSex="F")
        await store(database, source, placement(size=10), origin(100.0 + n))
    (patient,) = await list_patients(database)
    assert (patient.name, patient.patient_id, patient.birth_date, patient.sex) == ("Doe^Jane", "P1", "19700102", "F")
    assert (patient.studies, patient.instances, patient.size, patient.last_received) == (2, 2, 20, 101.0)


async def test_pages(database: SQLite) -> None:
    for n in range(5):
        await store(database, data_set(study=f"1.{n}", PatientID=f"P{n}", PatientName=f"N{n}"))
    seen, after = [], None
    while page := await list_patients(database, limit=2, after=after):
        seen += [patient.patient_id for patient in page]
        after = page[-1].row
    assert seen == ["P4", "P3", "P2", "P1", "P0"]
    back = await list_patients(database, limit=2, before=after)
    assert [patient.patient_id for patient in back] == ["P2", "P1"]


async def test_search(database: SQLite) -> None:
    for n, name in enumerate(["Doe^Jane", "Doe^John", "Roe"]):
        await store(database, data_set(study=f"1.{n}", PatientID=f"P{n}", PatientName=name))
    roe = (await list_patients(database, patient="roe"))[0]
    await database.write(lambda: add_label("patient", roe.public_id, "vip"))
    for asked, count in (({"patient": "doe"}, 2), ({"patient": "p1"}, 1), ({"label": "vip"}, 1), ({"label": "x"}, 0)):
        assert len(await list_patients(database, **asked)) == count
