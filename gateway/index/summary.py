"""A summary of the archive: totals, and the studies with the latest received instances, for a person's page.

Unlike the DICOM searches in `search.py` it is lenient: names match without regard to case, and by parts of a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway.database.database import Database
from gateway.index import attributes as tags
from gateway.index.matching import ENCLOSED, Parameters
from gateway.index.queries import summary as queries
from gateway.index.values import comparable_name, like


@dataclass(frozen=True, slots=True)
class Statistics:
    patients: int
    studies: int
    series: int
    instances: int
    size: int
    """Bytes of all current files of instances."""
    attached: int
    """Bytes of all attachments."""


@dataclass(frozen=True, slots=True)
class RecentStudy:
    id: int
    last_received: float
    """Seconds since 1970. With `id`, the position in the order: the next page begins after it."""
    public_id: str
    study_uid: str
    patient_id: str
    patient_name: str
    """The first component group as received, carets and all."""
    patient_birth_date: str
    patient_sex: str
    date: str
    time: str
    accession_number: str
    description: str
    modalities: list[str]
    series: int
    instances: int
    size: int
    flags: int
    incomplete: int
    """Instances whose pixel data lack something."""
    clashing_patient: str
    """Public id of its patient if another patient has a study with the same UID; '' otherwise."""


async def statistics(database: Database) -> Statistics:
    ((patients, studies, series, instances, size),) = await database.fetch(queries.STATISTICS)
    ((attached,),) = await database.fetch(queries.ATTACHED_BYTES)
    return Statistics(patients, studies, series, instances, size, attached)


async def last_received(database: Database) -> float:
    """When something was received last (seconds since 1970); 0 if nothing was."""
    ((at,),) = await database.fetch(queries.NEWEST_STUDY)
    return float(at)


async def recent_studies(
    database: Database,
    *,
    patient: str = "",
    accession_number: str = "",
    modality: str = "",
    after: tuple[float, int] | None = None,
    limit: int = 50,
) -> list[RecentStudy]:
    """Studies by the time of their last received instance, newest first.

    `patient` is part of the name, or the beginning of the Patient ID; `accession_number` the beginning of one;
    `modality` one code. `after` is (last_received, id) of the last study of the previous page.
    """
    parameters = Parameters()
    conditions = []
    if patient := patient.strip():
        words = [word for word in comparable_name(patient).replace(",", " ").replace("^", " ").split() if word]
        by_name = [
            queries.NAMED_LIKE.format(tag=tags.PATIENT_NAME, pattern=parameters.add(f"%{like(word)}%"))
            for word in words
        ] or ["false"]
        by_id = f"t.patient_id LIKE {parameters.add(like(patient) + '%')} ESCAPE '!'"
        conditions.append(f"(({' AND '.join(by_name)}) OR {by_id})")
    if accession_number := accession_number.strip():
        conditions.append(f"t.accession_number LIKE {parameters.add(like(accession_number) + '%')} ESCAPE '!'")
    if modality := modality.strip().upper():
        conditions.append(f"t.modalities LIKE {parameters.add(ENCLOSED.format(like(modality)))} ESCAPE '!'")
    if after is not None:
        last_received, identifier = after
        place = {"last_received": parameters.add(last_received), "id": parameters.add(identifier)}
        conditions.append(queries.RECENT_AFTER.format(**place))
    query = queries.recent(conditions, parameters.add(limit))
    studies = []
    for row in await database.fetch(query, *parameters.values):
        modalities = sorted(filter(None, row[11].split("\\")))
        fields = (*row[:5], _patient_name(row[15]), *row[5:11], modalities, *row[12:15], *row[16:])
        studies.append(RecentStudy(*fields))
    return studies


class _Person(msgspec.Struct):
    alphabetic: str = msgspec.field(name="Alphabetic", default="")
    ideographic: str = msgspec.field(name="Ideographic", default="")
    phonetic: str = msgspec.field(name="Phonetic", default="")


class _Names(msgspec.Struct):
    values: list[_Person | None] = msgspec.field(name="Value", default_factory=list)


class _Members(msgspec.Struct):
    patient_name: _Names = msgspec.field(name="00100010", default_factory=_Names)


_decode = msgspec.json.Decoder(_Members).decode


def _patient_name(fragment: str) -> str:
    for person in _decode(f"{{{fragment}}}").patient_name.values:
        if person is not None:
            return person.alphabetic or person.ideographic or person.phonetic
    return ""
