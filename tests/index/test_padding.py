"""Values are padded with a space or with NUL, whatever PS3.5 Table 6.2-1 wants for their VR: both say nothing."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from gateway.database.database import Query
from gateway.database.sqlite import SQLite
from gateway.dicom.decode import decode_data_set
from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.elements import pick
from gateway.index import attributes as tags
from gateway.index.compare import matches
from gateway.index.places import KEYS
from gateway.index.record import INDEX_STOP, INDEX_TAGS, InstanceRecord, RecordTemplate
from gateway.index.search import Search
from gateway.retrieve.query import search_page
from tests.support.datasets import CT, EXPLICIT
from tests.support.index import migrate_again, store

PADDINGS = [b"\0", b"\0\0", b" ", b" \0", b"\0 "]
VALUES = {"DA": b"20260102", "TM": b"101112", "IS": b"7", "CS": b"CT", "UI": b"1.2.3", "PN": b"Doe^Jane", "AS": b"012Y"}
MADE = {tags.MODALITIES_IN_STUDY, tags.SOP_CLASSES_IN_STUDY, tags.SCHEDULED_STEP_ID, tags.REQUESTED_PROCEDURE_ID}
HELD = sorted(tag for tag in KEYS if tag in INDEX_TAGS and tag not in MADE)
NAMES = Query("names", "SELECT tag, name FROM person_names WHERE tag > 0 ORDER BY tag, name")


def encoded(padding: bytes) -> bytes:
    """An instance with a value for every key that the index holds, each with this behind it."""
    elements = dict.fromkeys(HELD, b"") | {tags.SPECIFIC_CHARACTER_SET: b"ISO_IR 100"}
    data = b""
    for tag in sorted(elements):
        vr = implicit_vr(tag)
        value = elements[tag] or value_of(tag)
        value += padding
        data += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value
    return data


def value_of(tag: int) -> bytes:
    if tag == tags.SOP_CLASS_UID:
        return CT.encode()
    vr = implicit_vr(tag)
    return VALUES.get(vr, b"AB%04X" % (tag & 0xFFFF))


def record(padding: bytes) -> InstanceRecord:
    elements, _ = pick(encoded(padding), EXPLICIT, INDEX_TAGS, INDEX_STOP)
    return RecordTemplate(elements, EXPLICIT).record


@pytest.mark.case("file 01 a value padded with NUL is found by itself, whatever its VR")
@pytest.mark.parametrize("padding", PADDINGS)
async def test_every_key_finds_it(database: SQLite, padding: bytes) -> None:
    await store(database, record(padding))
    for tag in HELD:
        wanted = Search("instance", [(tag, value_of(tag).decode())])
        page = await search_page(database, wanted)
        assert len(page.matches) == 1, f"{tag:08X}"
        assert "\\u0000" not in str(page.matches[0].attributes)


@pytest.mark.parametrize("padding", PADDINGS)
def test_what_is_compared_in_memory(padding: bytes) -> None:
    """Keys of C-FIND and what files hold: padded on either side."""
    stored, bare = decode_data_set(encoded(padding), EXPLICIT), decode_data_set(encoded(b""), EXPLICIT)
    for tag in HELD:
        assert matches(bare[tag], stored[tag]), f"{tag:08X}"
        assert matches(stored[tag], bare[tag]), f"{tag:08X}"


@pytest.mark.parametrize("padding", [b"\0", b"\0\0", b" ", b"\0 "])
def test_one_patient(padding: bytes) -> None:
    """Whatever stands behind the Patient ID. A space and a NUL behind it make two for Orthanc, and here."""
    assert record(padding).parents.patient_public_id == record(b"").parents.patient_public_id
    assert record(padding).public_id == record(b"").public_id


async def test_names_that_were_indexed_before(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    database = await SQLite.open(path)
    await store(database, record(b""))
    before = await database.fetch(NAMES)
    assert len(before) == 2
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        for tag, padding in ((tags.PATIENT_NAME, "\0"), (tags.REFERRING_PHYSICIAN_NAME, " \0\0")):
            connection.execute("UPDATE person_names SET name = name || ? WHERE tag = ?", (padding, tag))
        connection.execute("INSERT INTO person_names SELECT study, tag, char(0) FROM person_names WHERE tag > 0")
        migrate_again(connection, "names")
    database = await SQLite.open(path)
    try:
        assert await database.fetch(NAMES) == before
    finally:
        await database.close()
