"""Instances in the index without files: records from synthetic data sets, stored under invented keys."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset

from gateway.database import migrations
from gateway.database.database import Database
from gateway.dicom.elements import pick
from gateway.index.record import INDEX_STOP, INDEX_TAGS, InstanceRecord, RecordTemplate, of_tenant
from gateway.index.store import Duplicate, FileLocation, Origin, Stored, store_instance
from tests.support.datasets import CT, EXPLICIT, encode

_numbers = itertools.count(1)


def data_set(study: str = "1.2.3", series: str | None = None, sop: str | None = None, **values: Any) -> Dataset:
    """The header of a CT instance; a series and instance UID of its own where none is given."""
    result = Dataset()
    result.SOPClassUID = CT
    result.StudyInstanceUID = study
    result.SeriesInstanceUID = series or f"{study}.1"
    result.SOPInstanceUID = sop or f"{result.SeriesInstanceUID}.{next(_numbers)}"
    result.PatientID = "P1"
    result.PatientName = "Doe^Jane"
    result.StudyDate = "20260102"
    result.Modality = "CT"
    for keyword, value in values.items():
        setattr(result, keyword, value)
    return result


def record(source: Dataset, transfer_syntax: str = EXPLICIT) -> InstanceRecord:
    elements, _ = pick(encode(source, transfer_syntax), transfer_syntax, INDEX_TAGS, INDEX_STOP)
    return RecordTemplate(elements, transfer_syntax).record


def placement(key: str = "", size: int = 1000, transfer_syntax: str = EXPLICIT) -> FileLocation:
    return FileLocation(key or f"KEY{next(_numbers):023}", size, 340, transfer_syntax)


def origin(received_at: float = 1000.0, tenant: str = "") -> Origin:
    return Origin("SENDER", "GATEWAY", "10.0.0.1", received_at, "dimse", tenant)


def migrate_again(connection: sqlite3.Connection, name: str) -> None:
    """Run one migration on a database that has had all of them, and was put back to what it was before that one."""
    (migration,) = [each for each in migrations.migrations() if each.name == name]
    for statement in migration.statements(migrations.SQLITE):
        connection.execute(statement)
    connection.commit()


async def store(
    database: Database,
    source: Dataset | InstanceRecord,
    where: FileLocation | None = None,
    came: Origin | None = None,
    *,
    replaces: str | None = None,
) -> Stored | Duplicate:
    entry = source if isinstance(source, InstanceRecord) else record(source)
    where, came = where or placement(), came or origin()
    entry = of_tenant(entry, came.tenant)
    return await database.write(lambda: store_instance(entry, where, came, replaces=replaces))


async def fill(database: Database, sources: Iterable[Dataset]) -> None:
    for source in sources:
        assert isinstance(await store(database, source), Stored)
