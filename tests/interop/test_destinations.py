"""Deliveries to Debian's Orthanc: over DICOMweb and over its REST API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.remote.kinds import open_destination
from tests.contracts.destinations import SERIES, STUDY, item, settings_of
from tests.support.processes import http_get, orthanc

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("kind", ["dicomweb", "peer"])
async def test_orthanc_takes_and_has_them(tmp_path: Path, kind: str) -> None:
    with orthanc(tmp_path, dicomweb=True, DicomWeb={"Enable": True, "Root": "/dicom-web/"}) as peer:
        url = peer.url + ("/dicom-web" if kind == "dicomweb" else "")
        settings = settings_of(kind=kind, url=url)
        destination = open_destination("it", settings.destinations["it"], lambda: settings)
        uids = [f"1.2.3.4.{number}" for number in range(20)]
        try:
            async with asyncio.timeout(30):
                for _ in range(2):
                    answers = await asyncio.gather(*[destination.send(item(uid)) for uid in uids])
                    assert {each.outcome for each in answers} == {"delivered"}
                asked = [(STUDY, SERIES, uid) for uid in [*uids, "1.2.3.9"]]
                assert await destination.has(asked) == set(uids)
        finally:
            await destination.close()
        _, statistics = await asyncio.to_thread(http_get, f"{peer.url}/statistics")
        assert json.loads(statistics)["CountInstances"] == 20
