"""Locating the stored instances of a study, series or single UID, page by page, in a stable order.

A page is one statement; between pages nothing stays open. Reading the files is in `retrieve/retrieval.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.database.database import Database, Query, Row
from gateway.dicom.levels import Level, level_of
from gateway.errors import SeveralPatients
from gateway.index.queries import locate as queries
from gateway.index.queries.columns import COLUMN_COUNT

PAGE = 500
"""Most instances in one page."""
Position = tuple[int, int, int, int]
START: Position = (-(2**62), -1, -1, -1)
"""The position before the first instance."""


@dataclass(frozen=True, slots=True)
class Located:
    """One stored instance with its storage key and transfer syntax. Sizes are bytes."""

    id: int
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    key: str
    size: int
    data_set_offset: int
    version: int
    position: Position
    """Place of the instance in the order; the next page begins after it."""
    clashing_patient: str = ""
    """Public id of its patient if another patient has a study with the same UID; '' otherwise."""
    tenant: str = ""
    """Whom it belongs to; '' for no tenant."""


class Identity(NamedTuple):
    """The public ids of an instance and of what it belongs to."""

    patient: str
    study: str
    series: str
    instance: str


class Counted(NamedTuple):
    """A resource, and how much is below it."""

    level: Level
    instances: int
    size: int
    """Bytes of all files."""
    above: frozenset[str]
    """Public ids of what it belongs to."""


def located(row: Row) -> Located:
    """The instance of a row whose first columns are `COLUMNS`."""
    identifier, study, series, sop, sop_class, syntax, key, size, offset, version, *rest = row[:COLUMN_COUNT]
    series_number, series_id, number, patient, tenant = rest
    position = series_number, series_id, number, identifier
    return Located(
        identifier,
        study,
        series,
        sop,
        sop_class,
        syntax,
        key,
        size,
        offset,
        version,
        position,
        clashing_patient=patient,
        tenant=tenant,
    )


def locate(
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    patient: str = "",
    *,
    after: Position = START,
    limit: int = PAGE,
) -> tuple[Query, tuple[str | int, ...]]:
    """The statement for a page of the instances after a position, ordered by series number, instance number, id.

    `patient` is the public id of the only patient whose instances count; '' for any.
    """
    parameters = (study_uid, patient, *after, limit)
    if series_uid is None:
        return queries.LOCATE_STUDY, parameters
    if sop_uid is None:
        return queries.LOCATE_SERIES, (*parameters, series_uid)
    return queries.LOCATE_INSTANCE, (*parameters, series_uid, sop_uid)


async def located_page(
    database: Database,
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    patient: str = "",
    *,
    after: Position = START,
    limit: int = PAGE,
) -> list[Located]:
    """One page of instances; empty if nothing (more) matches."""
    query, parameters = locate(study_uid, series_uid, sop_uid, patient, after=after, limit=limit)
    return [located(row) for row in await database.fetch(query, *parameters)]


async def check_patient(
    database: Database, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> None:
    """Check that UIDs are of one patient. Raises: SeveralPatients when objects of several patients have them."""
    below = [uid for uid in (series_uid, sop_uid) if uid is not None]
    query = queries.ROWS_BY_UID[level_of(study_uid, *below)]
    rows = await database.fetch(query, study_uid, "", *below)
    if len(rows) > 1:
        raise SeveralPatients([study_uid, *below], [patient for _row, patient in rows])


async def located_by_public_id(database: Database, level: Level, public_id: str) -> AsyncIterator[Located]:
    """Every instance of a resource, a patient included, fetched in pages, in the order of rows."""
    async for page in identified(database, level, public_id):
        for _identity, one in page:
            yield one


async def identified(
    database: Database, level: Level, public_id: str, limit: int = PAGE, *, after: int = -1
) -> AsyncIterator[list[tuple[Identity, Located]]]:
    """Every instance of a resource behind the row `after`, with its public ids, page by page, in the order of rows.
    Never an empty page."""
    while rows := await database.fetch(queries.LOCATE_BY_PUBLIC_ID[level], public_id, after, limit):
        yield [(Identity(*row[COLUMN_COUNT:]), located(row)) for row in rows]
        if len(rows) < limit:
            return
        after = rows[-1][0]


async def last_row(database: Database) -> int:
    """The highest row of an instance: what is stored from now on comes behind it. -1 without any."""
    ((row,),) = await database.fetch(queries.LAST_ROW)
    return int(row)


async def counted_resources(database: Database, public_ids: Sequence[str]) -> dict[str, Counted]:
    """Level and instances of those that there are, by public id, in the order asked for."""
    found: dict[str, Counted] = {}
    unique = list(dict.fromkeys(public_ids))
    for at in range(0, len(unique), PAGE):
        some = unique[at : at + PAGE]
        rows = await database.fetch(queries.counted_resources(len(some)), *some)
        for each, level, count, size, *above in rows:
            found[each] = Counted(level, int(count), int(size), frozenset(filter(None, above)))
    return {public_id: found[public_id] for public_id in unique if public_id in found}


async def representative(
    database: Database, study_uid: str, series_uid: str | None = None, patient: str = ""
) -> Located | None:
    """The instance in the middle of a series, or of a study's first series with images; None without any.

    Raises: SeveralPatients when several have such a study or series and `patient` does not name one.
    """
    if series_uid is None:
        rows = await database.fetch(queries.LOCATE_MIDDLE_OF_STUDY, study_uid, patient)
    else:
        rows = await database.fetch(queries.LOCATE_MIDDLE_OF_SERIES, study_uid, patient, series_uid)
    instance = located(rows[0]) if rows else None
    if instance is not None and instance.clashing_patient and not patient:
        await check_patient(database, study_uid, series_uid)
    return instance


async def every_located(
    database: Database, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> AsyncIterator[Located]:
    """Every instance of a study, series or UID, fetched in pages; instances stored meanwhile may be missing."""
    after = START
    while True:
        page = await located_page(database, study_uid, series_uid, sop_uid, after=after)
        for instance in page:
            yield instance
        if len(page) < PAGE:
            return
        after = page[-1].position
