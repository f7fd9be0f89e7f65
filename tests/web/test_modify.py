"""POST …/modify, as Orthanc has it."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from gateway.config import Dicomweb
from gateway.index.identity import public_id
from tests.support.datasets import instance
from tests.support.web import House, archive, working
from tests.web.test_stow import files, multipart, post

MASK = {"MaskType": "Fill", "RegionType": "2D", "Origin": [0, 0], "End": [4, 4], "FillValue": 7}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made, working(made):
        yield made


def names(one: Any) -> tuple[str, str, str, str]:
    return "P1", one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID


async def test_an_instance_comes_back_as_a_file_of_another_one(gateway: House):
    one = instance(StationName="S", StudyDate="20200101")
    one.private_block(0x0019, "ACME", create=True).add_new(0x10, "LO", "secret")
    await post(gateway, multipart(files(one)))
    body = {"Replace": {"PatientName": "x", "0008,0080": "q"}, "Remove": ["StudyDate"], "RemovePrivateTags": True}
    answer = await gateway.client.post(f"/instances/{public_id(*names(one))}/modify", json=body)
    assert (answer.status, answer.content_type) == (200, "application/dicom")
    after = pydicom.dcmread(io.BytesIO(await answer.read()))
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID != one.SOPInstanceUID
    assert (after.StudyInstanceUID, after.SeriesInstanceUID) == (one.StudyInstanceUID, one.SeriesInstanceUID)
    assert (str(after.PatientName), after.InstitutionName, after.StationName) == ("x", "q", "S")
    assert "StudyDate" not in after
    assert not any(element.tag.is_private for element in after)
    assert after.PixelData == one.PixelData


async def test_a_study_that_keeps_its_uid_is_not_deleted_with_its_copies(gateway: House):
    one = instance()
    await post(gateway, multipart(files(one)))
    gateway.dicomweb = Dicomweb(delete=True)
    path = f"/studies/{public_id(*names(one)[:2])}"
    wanted = {"Replace": {"StationName": "new"}, "Keep": ["StudyInstanceUID"], "KeepSource": False, "Force": True}
    answer = await gateway.client.post(f"{path}/modify", json=wanted)
    assert answer.status == 200, await answer.text()
    assert (await gateway.json(path))["Series"]


async def test_a_study_becomes_another_and_its_source_goes_where_asked(gateway: House):
    one, two = instance(), instance()
    two.StudyInstanceUID, two.SeriesInstanceUID = one.StudyInstanceUID, one.SeriesInstanceUID
    await post(gateway, multipart(files(one, two)))
    path = f"/studies/{public_id(*names(one)[:2])}"
    wanted = {"Replace": {"StudyDescription": "new"}, "KeepSource": False}
    assert (await gateway.client.post(f"{path}/modify", json=wanted)).status == 403
    gateway.dicomweb = Dicomweb(delete=True)
    answer = await gateway.client.post(
        f"{path}/modify", json={"Replace": {"StudyDescription": "new"}, "KeepSource": False}
    )
    body = await answer.json()
    assert answer.status == 200
    assert (body["InstancesCount"], body["FailedInstancesCount"], body["IsAnonymization"]) == (2, 0, False)
    assert (await gateway.client.post(f"{path}/modify", json=wanted)).status == 404
    found = await (await gateway.client.get("/dicom-web/instances?includefield=StudyDescription")).json()
    assert len(found) == 2
    assert {each["0020000D"]["Value"][0] for each in found} != {one.StudyInstanceUID}
    assert len({each["0020000E"]["Value"][0] for each in found}) == 1


@pytest.mark.parametrize(
    ("level", "body", "text"),
    [
        ("instances", {"Replace": {"SOPInstanceUID": "1.2"}}, "to be replaced requires the"),
        ("studies", {"Keep": ["StudyInstanceUID"]}, "to be kept requires the"),
        ("instances", {"Remove": ["PatientID"]}, "to be removed requires the"),
        ("patients", {"Replace": {"PatientName": "x"}}, "her PatientID is required to be modified"),
        ("series", {"Replace": {"PatientID": "z"}, "Force": True}, "requires the StudyInstanceUID"),
        ("instances", {"Replace": {"Nope": "z"}}, "no keyword"),
        ("instances", {"Replace": {"AccessionNumber": "x" * 17}}, "SH holds 16"),
        ("studies", {"Asynchronous": 1}, "Expected `bool"),
        ("studies", {"Nonsense": 1}, "Nonsense"),
        ("instances", {"Remove": ["SOPInstanceUID"], "Force": True}, "not an instance"),
        ("instances", {"Remove": ["RequestAttributesSequence[0]"]}, "names an item"),
        ("instances", {"Remove": ["PixelData"]}, "cannot be changed"),
        ("instances", {"Replace": {"TransferSyntaxUID": "1.2"}}, "cannot be changed"),
        ("instances", {"Replace": {"SpecificCharacterSet": "ISO_IR 100"}}, "ISO_IR 192"),
        ("instances", {"Replace": {"SOPInstanceUID": None}, "Force": True}, "must not be empty"),
        ("instances", {"Replace": {"PatientComments": True}}, "bool is no value"),
        ("instances", {"Replace": {"PatientComments": ["x"]}}, "LT is none"),
        ("instances", {"Replace": {"RequestAttributesSequence": "x"}}, "list of objects"),
        ("instances", {"Replace": {"RequestAttributesSequence": ["x"]}}, "list of objects"),
        ("instances", {"Replace": {"RequestAttributesSequence": [{"Nope": 1}]}}, "no keyword"),
        ("instances", {"Replace": {"RequestAttributesSequence": [{"AccessionNumber": "x" * 17}]}}, "SH holds 16"),
        ("instances", {"Replace": {"Rows": "x"}}, "not a value of US"),
        ("instances", {"Replace": {"Rows": -1}}, "not a value of US"),
        ("instances", {"Replace": {"FrameIncrementPointer": "x"}}, "is no tag"),
        ("instances", {"Replace": {"EncapsulatedDocument": "data:x;base64,?"}}, "base64"),
        ("instances", {"Transcode": "1.2.3"}, "no transfer syntax"),
        ("series", {"Transcode": "1.2.840.10008.1.2.4.50", "LossyQuality": 101}, "1 to 100"),
        ("instances", {"Changes": "none"}, r"no \[changes.none\]"),
        ("instances", [], "not a JSON object"),
    ],
)
async def test_what_makes_no_sense_is_answered_as_orthanc_does(gateway: House, level: str, body: Any, text: str):
    one = instance()
    await post(gateway, multipart(files(one)))
    depth = ["patients", "studies", "series", "instances"].index(level) + 1
    answer = await gateway.client.post(f"/{level}/{public_id(*names(one)[:depth])}/modify", json=body)
    assert answer.status == 400
    assert re.search(text, json.loads(await answer.text())["Details"])


async def test_nothing_there_is_not_found(gateway: House):
    assert (await gateway.client.post("/studies/zzz/modify", json={"Replace": {"PatientName": "x"}})).status == 404


@pytest.mark.case("modify and anonymize over REST write no invalid value")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [("StudyDate", "2026-01-01"), ("StudyDate", "20261399"), ("Modality", "ct"), ("AccessionNumber", "x" * 17)],
)
@pytest.mark.parametrize("verb", ["modify", "anonymize"])
async def test_a_value_that_its_vr_does_not_allow(gateway: House, verb: str, keyword: str, value: str) -> None:
    one = instance()
    await post(gateway, multipart(files(one)))
    body = {"Replace": {keyword: value}}
    answer = await gateway.client.post(f"/instances/{public_id(*names(one))}/{verb}", json=body)
    assert answer.status == 400
    assert "PS3.5" in await answer.text()


@pytest.mark.case("case 04 what REST replaces is in the character set of the object, or all of it in ISO_IR 192")
@pytest.mark.parametrize("verb", ["modify", "anonymize"])
@pytest.mark.parametrize(
    ("text", "terms"), [("두부", ["", "ISO 2022 IR 149"]), ("뷁", "ISO_IR 192"), ("señor", "ISO_IR 192")]
)
async def test_text_under_code_extensions(gateway: House, verb: str, text: str, terms: str | list[str]) -> None:
    one = instance(SpecificCharacterSet=["", "ISO 2022 IR 149"], PatientName="Hong=홍", Manufacturer="길동")
    await post(gateway, multipart(files(one)))
    body = {"Replace": {"StudyDescription": text}}
    answer = await gateway.client.post(f"/instances/{public_id(*names(one))}/{verb}", json=body)
    after = pydicom.dcmread(io.BytesIO(await answer.read()))
    assert (after.StudyDescription, after.Manufacturer, after.SpecificCharacterSet) == (text, "길동", terms)


async def test_what_comes_of_it_says_what_it_was_made_of(gateway: House):
    one = instance()
    await post(gateway, multipart(files(one)))
    _patient, study, series, sop = (public_id(*names(one)[:at]) for at in (1, 2, 3, 4))
    for path, changes in (("modify", "ModifiedFrom"), ("anonymize", "AnonymizedFrom")):
        answer = await gateway.client.post(f"/studies/{study}/{path}", json={"Replace": {}})
        assert answer.status == 200, await answer.text()
        made = (await answer.json())["ID"]
        assert (await gateway.json(f"/studies/{made}"))[changes] == study
        assert (await gateway.json(f"/studies/{made}/metadata?expand"))[changes] == study
        (below,) = await gateway.json(f"/studies/{made}/series")
        assert below[changes] == series
        (below,) = await gateway.json(f"/studies/{made}/instances")
        assert below[changes] == sop
    assert "ModifiedFrom" not in await gateway.json(f"/studies/{study}")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"Transcode": "1.2.840.10008.1.2.4.50"}, "does not take samples of 16 bits"),
        ({"MaskPixelData": {"Regions": [MASK]}}, "cannot be laid out"),
    ],
)
@pytest.mark.parametrize("what", ["modify", "anonymize"])
async def test_pixels_that_cannot_be_changed(gateway: House, what: str, body: dict[str, Any], why: str):
    """The file is refused before its first byte, and nothing is wrong with the gateway."""
    one = instance(BitsAllocated=16, BitsStored=16, HighBit=15, **({"Rows": 0} if "MaskPixelData" in body else {}))
    await post(gateway, multipart(files(one)))
    answer = await gateway.client.post(f"/instances/{public_id(*names(one))}/{what}", json=body)
    text = await answer.text()
    assert (answer.status, why in text) == (400, True), text
