"""POST …/anonymize, as Orthanc has it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from gateway.config import Dicomweb, Http
from gateway.index.identity import public_id
from gateway.web.rest.changing import ANONYMIZING
from gateway.web.streaming import RateGuard
from tests.support.datasets import instance
from tests.support.web import House, archive, working
from tests.web.test_stow import files, multipart, post
from tests.web.test_streaming import Endless


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made, working(made):
        yield made


def names(one: Any) -> tuple[str, str, str, str]:
    return "P1", one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID


async def test_an_instance_comes_back_as_a_file(gateway: House):
    one = instance(StationName="S", SeriesDescription="Lung")
    await post(gateway, multipart(files(one)))
    path = f"/instances/{public_id(*names(one))}/anonymize"
    answer = await gateway.client.post(path, data=b"{}")
    assert (answer.status, answer.content_type) == (200, "application/dicom")
    after = pydicom.dcmread(io.BytesIO(await answer.read()))
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID != one.SOPInstanceUID
    assert after.PatientIdentityRemoved == "YES"
    assert "SeriesDescription" not in after
    body = {
        "Keep": ["SeriesDescription"],
        "Replace": {"PatientName": "hello", "StudyDate": "20200101"},
        "Remove": ["Modality"],
    }
    after = pydicom.dcmread(io.BytesIO(await (await gateway.client.post(path, json=body)).read()))
    assert (after.SeriesDescription, after.PatientName, after.StudyDate) == ("Lung", "hello", "20200101")
    assert "Modality" not in after


async def test_a_study_is_stored_beside_the_original(gateway: House):
    one, two = instance(), instance()
    two.StudyInstanceUID, two.SeriesInstanceUID = one.StudyInstanceUID, one.SeriesInstanceUID
    await post(gateway, multipart(files(one, two)))
    for number, (level, kind) in enumerate((("patients", "Patient"), ("studies", "Study"), ("series", "Series")), 1):
        answer = await gateway.client.post(f"/{level}/{public_id(*names(one)[:number])}/anonymize", json={})
        body = await answer.json()
        assert answer.status == 200
        assert body["Path"] == f"/{level}/{body['ID']}"
        source = public_id(*names(one)[:number])
        assert {**body, "ID": 0, "Path": 0, "PatientID": 0} == {
            "Description": "REST API",
            "ParentResources": [source],
            "Resources": [{"ID": source, "Type": kind}],
            "FailedInstancesCount": 0,
            "ID": 0,
            "InstancesCount": 2,
            "IsAnonymization": True,
            "Path": 0,
            "PatientID": 0,
            "Type": kind,
        }
    studies = await gateway.json("/dicom-web/studies?includefield=NumberOfStudyRelatedInstances")
    assert [study["00201208"]["Value"] for study in studies] == [[2]] * 4


async def test_the_source_goes_where_deleting_is_allowed(gateway: House):
    one = instance()
    await post(gateway, multipart(files(one)))
    path = f"/studies/{public_id(*names(one)[:2])}/anonymize"
    assert (await gateway.client.post(path, json={"KeepSource": False})).status == 403
    gateway.dicomweb = Dicomweb(delete=True)
    assert (await gateway.client.post(path, json={"KeepSource": False})).status == 200
    assert (await gateway.client.post(path, json={})).status == 404


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"Replace": {"PatientID": "x"}}, 'Marking tag "PatientID" as to be replaced requires the "Force" option'),
        ({"Keep": ["SOPInstanceUID"]}, 'Marking tag "SOPInstanceUID" as to be kept requires the "Force" option'),
        ({"Keep": ["Nonsense"]}, "no keyword"),
        ({"Replace": {"Rows": "x"}}, "not a value of US"),
        ({"DicomVersion": "2020a"}, "2020a"),
        ({"DicomVersion": 5}, "Expected `str"),
        ({"Asynchronous": "x"}, "Expected `bool"),
        ({"Transcode": "1.2.840.10008.1.2.77"}, "Transcode"),
        ({"Changes": "nothing"}, "there is no [changes.nothing]"),
        ([], "not a JSON object"),
    ],
)
async def test_what_cannot_be_done_is_named(gateway: House, body: Any, why: str):
    one = instance()
    await post(gateway, multipart(files(one)))
    for path in (f"/studies/{public_id(*names(one)[:2])}", f"/instances/{public_id(*names(one))}"):
        answer = await gateway.client.post(path + "/anonymize", json=body)
        assert answer.status == 400
        assert why in (await answer.json())["Details"]


async def test_what_may_not_pass_does_not(gateway: House):
    one = instance(BurnedInAnnotation="YES")
    await post(gateway, multipart(files(one)))
    for path in (f"/studies/{public_id(*names(one)[:2])}", f"/instances/{public_id(*names(one))}"):
        answer = await gateway.client.post(path + "/anonymize", json={})
        assert answer.status == 400
        assert "no rectangles match" in (await answer.json())["Details"]
    assert len(await gateway.json("/dicom-web/studies")) == 1


async def test_what_is_kept_by_force_keeps_its_references(gateway: House):
    one = instance()
    await post(gateway, multipart(files(one)))
    body = {"Keep": ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"], "Force": True}
    answer = await gateway.client.post(f"/instances/{public_id(*names(one))}/anonymize", json=body)
    after = pydicom.dcmread(io.BytesIO(await answer.read()))
    assert (after.StudyInstanceUID, after.SOPInstanceUID) == (one.StudyInstanceUID, one.SOPInstanceUID)


@pytest.mark.case("item 10 Whoever takes a changed instance slower than http.min_rate is let go")
@pytest.mark.parametrize("what", ["anonymize", "modify"])
async def test_a_reader_that_takes_nothing_is_let_go(gateway: House, monkeypatch: pytest.MonkeyPatch, what: str):
    """The window is made short: what takes a minute takes a third of a second."""
    monkeypatch.setattr(RateGuard.__init__, "__defaults__", (0.3,))
    gateway.http = Http(min_rate=1 << 20)
    source = Endless()
    monkeypatch.setattr(gateway.client.app[ANONYMIZING], "file", lambda *_: source())  # type: ignore[union-attr]
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.client.port, limit=1 << 12)
    body = b'{"Replace": {"PatientName": "x"}}'
    fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(f"POST /instances/{public_id('P1')}/{what} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body)
    try:
        async with asyncio.timeout(10):
            await source.closed.wait()
    finally:
        writer.transport.abort()
