"""Patients for a person who looks for one, the latest first, page by page; `study_list.py` has the same for studies."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.database.database import Database
from gateway.index.matching import Parameters
from gateway.index.queries import patient_list as queries
from gateway.index.resources import texts
from gateway.index.study_list import StudyConditions, study_conditions

_NAME, _BIRTH_DATE, _SEX = 0x00100010, 0x00100030, 0x00100040


@dataclass(frozen=True, slots=True)
class ListedPatient:
    """One row of the list."""

    public_id: str
    patient_id: str
    name: str
    """As received: component groups with `=` between them, components with carets."""
    birth_date: str
    sex: str
    studies: int
    instances: int
    size: int
    last_received: float
    """Seconds since 1970."""
    row: int
    """The position in the order."""


async def list_patients(
    database: Database,
    *,
    patient: str = "",
    label: str = "",
    limit: int = 50,
    after: int | None = None,
    before: int | None = None,
) -> list[ListedPatient]:
    """A page of patients: behind the row `after`, or else the last ones before the row `before`.

    `patient` is parts of the name, or the beginning of the Patient ID.
    """
    backwards, parameters = after is None and before is not None, Parameters()
    conditions = ["true"]
    if of_studies := study_conditions(StudyConditions(patient=patient), parameters):
        conditions.append(queries.OF_STUDIES.format(conditions=" AND ".join(of_studies)))
    if label:
        conditions.append(queries.HAS_LABEL.format(label=parameters.add(label)))
    place = before if backwards else after
    if place is not None:
        conditions.append(queries.BEYOND.format(sign=">" if backwards else "<", row=parameters.add(place)))
    query = queries.page(" AND ".join(conditions), descending=not backwards, limit=parameters.add(limit))
    found = []
    for public_id, patient_id, fragment, *counts in await database.fetch(query, *parameters.values):
        attributes = texts(fragment)
        about = [attributes.get(tag, "") for tag in (_NAME, _BIRTH_DATE, _SEX)]
        found.append(ListedPatient(*(public_id, patient_id, *about, *counts)))
    return found[::-1] if backwards else found
