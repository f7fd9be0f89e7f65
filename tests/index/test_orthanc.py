"""Identifiers and search results beside those of a real Orthanc, for every sample file that both can read."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.database.sqlite import SQLite
from gateway.dicom.part10 import read_header
from gateway.errors import DataSetError
from gateway.index.record import InstanceRecord
from gateway.index.search import Search
from gateway.ingest.header_scan import HeaderScanner
from gateway.retrieve.query import search_page
from tests.support.datasets import samples
from tests.support.index import placement, store
from tests.support.processes import Peer, orthanc

pytestmark = [pytest.mark.interop, pytest.mark.slow]

UNREAD = {"rtdose_rle.dcm", "rtdose_rle_1frame.dcm"}
"""Their Patient ID has VR UN: Orthanc does not read it, we know from the dictionary that it is text."""
COMPARED = [
    *["00080020", "00080030", "00080050", "00080061", "00080090", "00100010", "00100020", "00100030", "00100040"],
    *["0020000D", "00200010", "00201206", "00201208"],
]


def our_record(file: Path) -> InstanceRecord | None:
    data = file.read_bytes()
    try:
        meta = read_header(lambda offset, length: data[offset : offset + length])
        scanner = HeaderScanner(meta.transfer_syntax_uid, 4 << 20)
        scanner.scan([data[meta.data_set_offset :]], complete=True)
        return scanner.record()
    except DataSetError:
        return None


def post(peer: Peer, file: Path) -> dict[str, Any] | None:
    request = urllib.request.Request(f"{peer.url}/instances", file.read_bytes(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError:
        return None


def get(peer: Peer, path: str) -> Any:
    with urllib.request.urlopen(f"{peer.url}{path}", timeout=20) as answer:
        return json.load(answer)


@pytest.fixture
async def both(database: SQLite, tmp_path: Path) -> AsyncIterator[tuple[SQLite, Peer, dict[str, tuple[Any, Any]]]]:
    """Both hold the same instances; with what each called them, by file."""
    with orthanc(tmp_path / "orthanc", dicomweb=True) as peer:
        ids: dict[str, tuple[Any, Any]] = {}
        for file in [file for file in samples() if file.name not in UNREAD]:
            entry = our_record(file)
            theirs = post(peer, file) if entry else None
            if entry is None or theirs is None:
                continue
            parents = entry.parents
            ours = (parents.patient_public_id, parents.study_public_id, parents.series_public_id, entry.public_id)
            names = ("ParentPatient", "ParentStudy", "ParentSeries", "ID")
            ids[file.name] = (ours, tuple(theirs[name] for name in names))
            await store(database, entry, placement())
        yield database, peer, ids


def plain(attribute: dict[str, Any] | None) -> object:
    """A value as both could write it: absent and empty are the same, numbers are numbers."""
    values = (attribute or {}).get("Value", [])
    values = [{k: v for k, v in value.items() if v} if isinstance(value, dict) else value for value in values]
    return sorted(map(str, values)) if any(values) else []


async def test_identifiers_and_studies(both: tuple[SQLite, Peer, dict[str, tuple[Any, Any]]]) -> None:
    database, peer, ids = both
    assert len(ids) > 50
    assert {name: pair for name, pair in ids.items() if pair[0] != pair[1]} == {}
    theirs = {study["0020000D"]["Value"][0]: study for study in get(peer, "/dicom-web/studies?limit=1000")}
    page = await search_page(database, Search("study", limit=1000))
    ours = {match.study_uid: msgspec.json.decode(msgspec.json.encode(match.attributes)) for match in page.matches}
    assert set(ours) == set(theirs)
    different = {
        (uid, tag): (plain(ours[uid].get(tag)), plain(theirs[uid].get(tag)))
        for uid in ours
        for tag in COMPARED
        if plain(theirs[uid].get(tag))
        and plain(ours[uid].get(tag)) != plain(theirs[uid].get(tag))
        # Debian's Orthanc loses names outside of Latin; that ours are right is tested in test_record.py.
        and str(plain(ours[uid].get(tag))).isascii()
    }
    assert different == {}
