"""Studies for a person who looks for one: filtered as one types, in the order of any column, page by page.

Unlike the DICOM searches in `search.py` it is lenient: names match without regard to case, and by parts of a word. A
page begins behind the last row of another, so that the thousandth costs what the first does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.database.database import Database, Row
from gateway.index import attributes as tags
from gateway.index.matching import ENCLOSED, Parameters, lower
from gateway.index.queries import study_list as queries
from gateway.index.queries.columns import OF_ONE_PATIENT
from gateway.index.values import NO_NUMBER, comparable_name, like

ORDERS: Final = tuple(queries.KEYS)
"""What studies may be ordered by."""
_RECENT_STUDIES: Final = 500
"""Studies whose sources are known to `recent_sources`."""
_MAX_NUMBER: Final = 1 << 62
_AT_ONCE: Final = 200
"""Studies whose labels are read by one statement."""
Position = tuple[str | int | float, ...]
"""Where a study stands in an order: the values of its keys, and its row number."""


@dataclass(frozen=True, slots=True)
class StudyConditions:
    """The conditions of a search; empty fields do not filter."""

    patient: str = ""
    """Parts of the name, or the beginning of the Patient ID."""
    accession_number: str = ""
    """The beginning of one."""
    description: str = ""
    """A part of it."""
    modalities: tuple[str, ...] = ()
    """Codes of which the study has one."""
    source: str = ""
    """The AE title that the first instance came from."""
    labels: tuple[str, ...] = ()
    """Labels that the study has, all of them."""
    since: str = ""
    """The first Study Date, as DA."""
    until: str = ""
    """The last Study Date."""
    of_patient: str = ""
    """The public id of the only patient."""
    public_id: str = ""
    """That of the only study."""


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """One row of the list."""

    public_id: str
    study_uid: str
    patient_public_id: str
    patient_id: str
    patient_name: str
    """As received: component groups with `=` between them, components with carets."""
    patient_birth_date: str
    patient_sex: str
    date: str
    time: str
    accession_number: str
    description: str
    modalities: tuple[str, ...]
    source: str
    series: int
    instances: int
    size: int
    last_received: float
    """Seconds since 1970."""
    incomplete: int
    """Instances whose pixel data lack something."""
    clashing_patient: str
    """Public id of its patient if another patient has a study with the same UID; '' otherwise."""
    position: Position
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedSeries:
    """One series of a study."""

    public_id: str
    series_uid: str
    modality: str
    number: int | None
    description: str
    body_part: str
    protocol_name: str
    date: str
    time: str
    instances: int
    size: int
    position: Position


async def list_series(
    database: Database, study: str, *, limit: int = 100, after: Position | None = None
) -> list[ListedSeries]:
    """A page of the series of a study, by their numbers; `after` is the position of the last one of another."""
    rows = await database.fetch(queries.SERIES, study, *(after or (-NO_NUMBER, 0)), limit)
    return [
        ListedSeries(*(*row[:3], None if row[3] == NO_NUMBER else row[3], *row[4:11], (row[3], row[11])))
        for row in rows
    ]


async def list_studies(
    database: Database,
    wanted: StudyConditions = StudyConditions(),
    *,
    order: str = "received",
    descending: bool = True,
    limit: int = 50,
    after: Position | None = None,
    before: Position | None = None,
) -> list[ListedStudy]:
    """A page of studies in one of the `ORDERS`: behind the position `after`, or else the last ones before `before`.

    Studies without a patient's name are the last in the order of names, and those without labels in the order of
    labels, whichever way that goes.
    """
    backwards = after is None and before is not None
    place, falling = before if backwards else after, descending is not backwards
    parts = _IN_PARTS.get(order) or ((queries.STUDIES, queries.KEYS[order]),)
    first = 1 if place is not None and len(parts) > 1 and not place[0] else 0
    found: list[ListedStudy] = []
    for source, keys in parts[first::-1] if backwards else parts[first:]:
        parameters = Parameters()
        conditions = study_conditions(wanted, parameters)
        if place is not None:
            values = [parameters.add(value) for value in place[-len(keys) :]]
            conditions.append(queries.beyond(keys, values, descending=falling))
        text = source.format(tag=tags.PATIENT_NAME, conditions=" AND ".join(conditions) or queries.EVERY)
        query = queries.page(text, keys, descending=falling, limit=parameters.add(limit - len(found)))
        found += [_listed(row, keys) for row in await database.fetch(query, *parameters.values)]
        if len(found) >= limit:
            break
        place = None
    return await _labelled(database, found[::-1] if backwards else found)


async def count_studies(database: Database, wanted: StudyConditions, limit: int) -> int:
    """Count the studies that fulfil the conditions; counting ends at `limit`."""
    parameters = Parameters()
    conditions = " AND ".join(study_conditions(wanted, parameters)) or queries.EVERY
    query = queries.count(conditions, parameters.add(limit))
    ((found,),) = await database.fetch(query, *parameters.values)
    return int(found)


def is_position(place: Position, order: str) -> bool:
    """Whether a position of unknown origin is one in that order."""
    keys = queries.KEYS[order]
    return len(place) == len(keys) and all(
        isinstance(value, int | float) and abs(value) < _MAX_NUMBER
        if key in queries.NUMBERS
        else isinstance(value, str)
        for key, value in zip(keys, place, strict=True)
    )


async def recent_sources(database: Database) -> list[str]:
    """The AE titles that the studies of late came from."""
    return [source for (source,) in await database.fetch(queries.RECENT_SOURCES, _RECENT_STUDIES)]


_IN_PARTS: Final = {
    "name": ((queries.NAMED, queries.KEYS["name"]), (queries.UNNAMED, queries.REST_KEYS)),
    "labels": ((queries.LABELLED, queries.KEYS["labels"]), (queries.UNLABELLED, queries.REST_KEYS)),
}
"""Orders in which some studies have no place of their own: first those that have one, then the rest."""


def study_conditions(wanted: StudyConditions, parameters: Parameters) -> list[str]:
    """The conditions on a study `t`."""
    conditions = []
    if patient := wanted.patient.strip():
        words = comparable_name(patient).replace(",", " ").replace("^", " ").split()
        patterns = [parameters.add(f"%{like(word)}%") for word in words]
        by_name = [queries.HAS_NAME_LIKE.format(tag=tags.PATIENT_NAME, pattern=each) for each in patterns]
        by_id = queries.PATIENT_ID_LIKE.format(pattern=parameters.add(f"{like(lower(patient))}%"))
        conditions.append(f"(({' AND '.join(by_name) or queries.NOTHING}) OR {by_id})")
    for template, value, pattern in (
        (queries.ACCESSION_NUMBER_LIKE, wanted.accession_number, "{}%"),
        (queries.DESCRIPTION_LIKE, wanted.description, "%{}%"),
    ):
        if value := value.strip():
            conditions.append(template.format(pattern=parameters.add(pattern.format(like(lower(value))))))
    if wanted.modalities:
        patterns = [parameters.add(ENCLOSED.format(like(each))) for each in wanted.modalities]
        conditions.append(f"({' OR '.join([queries.HAS_MODALITY.format(pattern=each) for each in patterns])})")
    if wanted.source:
        conditions.append(queries.FROM_SOURCE.format(source=parameters.add(wanted.source)))
    conditions += [queries.HAS_LABEL.format(label=parameters.add(label)) for label in wanted.labels]
    if wanted.since:
        conditions.append(queries.SINCE.format(date=parameters.add(wanted.since)))
    if wanted.until:
        conditions.append(queries.UNTIL.format(date=parameters.add(wanted.until)))
    if wanted.of_patient:
        conditions.append(OF_ONE_PATIENT.format(patient=parameters.add(wanted.of_patient)))
    if wanted.public_id:
        conditions.append(queries.IS_ONE.format(public_id=parameters.add(wanted.public_id)))
    return conditions


def _listed(row: Row, keys: Sequence[str]) -> ListedStudy:
    position = row[queries.COLUMN_COUNT :]
    modalities = tuple(sorted(filter(None, row[11].split("\\"))))
    fields = (*row[:4], _patient_name(row[4]), *row[5:11], modalities, *row[12 : queries.COLUMN_COUNT])
    return ListedStudy(*(*fields, position if len(keys) > 1 else ("", *position)))


async def _labelled(database: Database, studies: list[ListedStudy]) -> list[ListedStudy]:
    """The same studies with their labels."""
    found: dict[str, list[str]] = {}
    for at in range(0, len(studies), _AT_ONCE):
        names = [study.public_id for study in studies[at : at + _AT_ONCE]]
        for public_id, label in await database.fetch(queries.labels(len(names)), *names):
            found.setdefault(public_id, []).append(label)
    return [replace(each, labels=tuple(found[each.public_id])) if each.public_id in found else each for each in studies]


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
            return "=".join((person.alphabetic, person.ideographic, person.phonetic)).rstrip("=")
    return ""
