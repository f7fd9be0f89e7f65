"""/tools/create-dicom: what Orthanc 1.10.1 makes of the same bodies is written down here as a live one answered."""

from __future__ import annotations

import asyncio
import io
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from gateway.admin.creation import CreationOrder, NewInstance
from gateway.imaging import picture_file
from gateway.index.store import Origin
from gateway.ingest.instance_writer import InstanceWriter
from gateway.web.rest import create
from tests.imaging.test_picture_file import announcing
from tests.support.web import House, archive

RGB = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
SECONDARY_CAPTURE, RAW_DATA = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.66"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made:
        yield made


def uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def picture(pixels: np.ndarray[Any, Any], kind: str = "PNG", **options: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return uri(f"image/{kind.lower()}", file.getvalue())


async def ask(gateway: House, body: Any) -> tuple[int, dict[str, Any]]:
    data = io.BytesIO(body if type(body) is bytes else json.dumps(body).encode())
    answer = await gateway.client.post("/tools/create-dicom", data=data)
    return answer.status, await answer.json()


async def created(gateway: House, **body: Any) -> Dataset:
    status, answer = await ask(gateway, {"Tags": {}, **body})
    assert status == 200, answer
    assert answer["Path"] == f"/instances/{answer['ID']}"
    assert answer["Status"] == "Success"
    made = await stored(gateway, answer["ID"])
    assert set(answer) == {"ID", "ParentPatient", "ParentSeries", "ParentStudy", "Path", "Status"}
    return made


async def stored(gateway: House, identifier: str) -> Dataset:
    file = await (await gateway.get(f"/instances/{identifier}/file")).read()
    return pydicom.dcmread(io.BytesIO(file))


async def count(gateway: House) -> int:
    return len(await gateway.json("/instances"))


async def test_nothing_but_tags(gateway: House) -> None:
    made = await created(gateway, Tags={"PatientName": "Doe^Jane", "0008,0050": "A", "0010-0040": "F"})
    assert (made.PatientName, made.AccessionNumber, made.PatientSex) == ("Doe^Jane", "A", "F")
    assert made.SOPClassUID == RAW_DATA
    assert len(made.PatientID) == 36
    dates = {made[name].value for name in made.dir("Date")}
    assert len(dates) == 1
    assert {"StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"} <= set(made.dir())
    other = await created(gateway)
    assert other.StudyInstanceUID != made.StudyInstanceUID
    assert other.PatientID != made.PatientID


async def test_a_picture(gateway: House) -> None:
    made = await created(gateway, Content=picture(RGB))
    assert (made.pixel_array == RGB).all()
    assert (made.PhotometricInterpretation, made.PlanarConfiguration, made.BitsStored) == ("RGB", 0, 8)
    assert (made.SOPClassUID, made.Modality, made.ConversionType) == (SECONDARY_CAPTURE, "OT", "WSD")
    made = await created(gateway, Tags={"PhotometricInterpretation": "MONOCHROME1"}, Content=picture(GREY))
    assert (made.pixel_array == GREY).all()
    assert (made.PhotometricInterpretation, made.HighBit) == ("MONOCHROME1", 7)
    assert "PlanarConfiguration" not in made
    assert "LossyImageCompression" not in made
    deep = (GREY.astype("u2") << 8) + 5
    made = await created(
        gateway, Tags={"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Content=picture(deep)
    )
    assert (made.pixel_array == deep).all()
    assert (made.BitsAllocated, made.SOPClassUID.name, made.Modality) == (16, "CT Image Storage", "CT")


async def test_jpeg_is_decoded_or_put_in_as_it_is(gateway: House) -> None:
    smooth = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    content = picture(smooth, "JPEG")
    decoded = await created(gateway, Content=content)
    assert decoded.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (decoded.PhotometricInterpretation, decoded.LossyImageCompression) == ("RGB", "01")
    whole = await created(gateway, Content=content, Encapsulate=True)
    assert whole.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert (whole.PhotometricInterpretation, whole.LossyImageCompressionMethod) == ("YBR_FULL_422", "ISO_10918_1")
    (frame,) = pydicom.encaps.generate_frames(whole.PixelData, number_of_frames=1)
    file = b64decode(content.partition(",")[2])
    assert frame == file + b"\0" * (len(file) & 1)
    assert np.abs(decoded.pixel_array.astype(int) - smooth).max() < 9
    assert (await gateway.get(f"/instances/{(await gateway.json('/instances'))[1]}/preview")).status == 200
    status, answer = await ask(
        gateway, {"Tags": {}, "Content": picture(RGB, "JPEG", progressive=True), "Encapsulate": True}
    )
    assert (status, "baseline" in answer["Details"]) == (400, True)


@pytest.mark.parametrize(
    ("media_type", "content", "sop_class", "modality"),
    [
        ("application/pdf", b"%PDF-1.4 abcd", "104.1", "OT"),
        ("model/stl", b"solid x", "104.3", "M3D"),
        ("model/obj", b"v 1 2 3\n", "104.4", "M3D"),
        ("model/mtl", b"newmtl x", "104.5", "M3D"),
    ],
)
async def test_a_document(gateway: House, media_type: str, content: bytes, sop_class: str, modality: str) -> None:
    made = await created(gateway, Content=uri(media_type, content))
    assert made.SOPClassUID == f"1.2.840.10008.5.1.4.1.1.{sop_class}"
    assert (made.Modality, made.MIMETypeOfEncapsulatedDocument) == (modality, media_type)
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == content
    made = await created(gateway, Tags={"Modality": "DOC", "DocumentTitle": "t"}, Content=uri(media_type, content))
    assert (made.Modality, made.DocumentTitle) == ("DOC", "t")


async def test_pixels_as_they_are(gateway: House) -> None:
    tags = {
        "Rows": 5,
        "Columns": "7",
        "SamplesPerPixel": 1,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "SmallestImagePixelValue": -5,
    }
    pixels = GREY.astype("<i2") - 128
    made = await created(gateway, Tags=tags, Content=uri("application/octet-stream", pixels.tobytes()))
    assert (made.pixel_array == pixels).all()
    assert made.SmallestImagePixelValue == -5


async def test_sequences_and_binary_values(gateway: House) -> None:
    tags = {
        "ReferencedStudySequence": [
            {"ReferencedSOPClassUID": "1.2", "PurposeOfReferenceCodeSequence": [{"CodeMeaning": "Zürich 王"}]}
        ],
        "ImageType": ["DERIVED", "SECONDARY"],
        "FrameIncrementPointer": "0018,1063",
        "SliceThickness": 1.5,
        "PatientSex": None,
        "ICCProfile": uri("application/octet-stream", b"\1\2\3\4"),
        "ImageComments": uri("text/plain", b"x"),
    }
    made = await created(gateway, Tags=tags)
    item = made.ReferencedStudySequence[0]
    assert item.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Zürich 王"
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert (made.ImageType, made.FrameIncrementPointer, made.SliceThickness) == (
        ["DERIVED", "SECONDARY"],
        0x00181063,
        1.5,
    )
    assert (made.PatientSex, made.ICCProfile) == ("", b"\1\2\3\4")
    assert made.ImageComments.startswith("data:")
    made = await created(gateway, Tags=tags, InterpretBinaryTags=False)
    assert made.ICCProfile.startswith(b"data:")


async def test_private_attributes(gateway: House) -> None:
    tags = {"0019-100a": "12", "0019-1020": "x"}
    made = await created(gateway, Tags=tags, PrivateCreator="SIEMENS MR HEADER")
    assert made[0x00190010].value == "SIEMENS MR HEADER"
    assert (made[0x0019100A].VR, made[0x0019100A].value) == ("US", 12)
    assert (made[0x00191020].VR, made[0x00191020].value) == ("UN", b"x\0")
    made = await created(gateway, Tags={**tags, "0019,0010": "OTHER"}, PrivateCreator="SIEMENS MR HEADER")
    assert (made[0x00190010].value, made[0x0019100A].value) == ("OTHER", b"12")
    made = await created(gateway, Tags={"ReferencedStudySequence": [tags]}, PrivateCreator="X")
    assert made.ReferencedStudySequence[0][0x00190010].value == "X"


async def test_a_series(gateway: House) -> None:
    content = [picture(GREY), {"Content": picture(RGB), "Tags": {"ImageComments": "second"}}]
    status, answer = await ask(gateway, {"Tags": {"PatientID": "P"}, "Content": content})
    assert (status, set(answer)) == (200, {"ID", "Path", "Status"})
    assert answer["Path"] == f"/series/{answer['ID']}"
    series = await gateway.json(answer["Path"])
    made = [await stored(gateway, each) for each in series["Instances"]]
    made.sort(key=lambda each: int(each.InstanceNumber))
    assert [(each.InstanceNumber, each.ImageIndex, each.ImagesInAcquisition) for each in made] == [(1, 1, 2), (2, 2, 2)]
    assert made[1].ImageComments == "second"
    assert "ImageComments" not in made[0]
    assert (made[0].pixel_array == GREY).all()
    assert (made[1].pixel_array == RGB).all()
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID
    assert await count(gateway) == 2


async def test_of_a_series_all_is_stored_or_nothing(gateway: House) -> None:
    first = (await ask(gateway, {"Tags": {"PatientID": "P"}}))[1]
    for bad in (uri("image/png", b"x"), {"Content": picture(GREY), "Tags": {"PatientName": "y"}}):
        body = {"Tags": {"PatientName": "x"}, "Content": [picture(GREY), bad], "Parent": first["ParentSeries"]}
        assert (await ask(gateway, body))[0] == 400
        assert await count(gateway) == 1  # what was in the series before stays


async def test_a_parent(gateway: House) -> None:
    tags = {
        "PatientID": "P",
        "PatientName": "Hélène",
        "PatientComments": "c",
        "StudyDescription": "study",
        "SeriesDescription": "series",
        "Modality": "MR",
        "StudyDate": "20200101",
        "ImageComments": "i",
        "OtherPatientIDsSequence": [{"PatientID": "q"}],
    }
    status, first = await ask(gateway, {"Tags": tags})
    assert status == 200
    of_patient, of_study, of_series = [
        await created(gateway, Parent=first[f"Parent{level}"], Content=picture(GREY))
        for level in ("Patient", "Study", "Series")
    ]
    source = await stored(gateway, first["ID"])
    assert (of_patient.PatientName, of_patient.PatientID, of_patient.PatientComments) == ("Hélène", "P", "c")
    assert of_patient.StudyInstanceUID != source.StudyInstanceUID
    assert "StudyDescription" not in of_patient
    assert of_patient.StudyDate != "20200101"
    assert (of_study.StudyInstanceUID, of_study.StudyDescription) == (source.StudyInstanceUID, "study")
    assert of_study.SeriesInstanceUID != source.SeriesInstanceUID
    assert (of_study.StudyDate, of_study.Modality) == ("20200101", "OT")
    assert (of_series.SeriesInstanceUID, of_series.SeriesDescription) == (source.SeriesInstanceUID, "series")
    assert of_series.Modality == "MR"
    assert of_series.SOPInstanceUID != source.SOPInstanceUID
    assert "ImageComments" not in of_series
    assert len(await gateway.json("/patients")) == 1


async def test_below_a_patient_without_an_identifier_nothing_goes_to_another(gateway: House) -> None:
    first = (await ask(gateway, {"Tags": {"PatientID": ""}}))[1]
    second = (await ask(gateway, {"Tags": {}, "Parent": first["ParentStudy"]}))[1]
    assert second["ParentStudy"] == first["ParentStudy"]


async def test_tags_that_conflict(gateway: House) -> None:
    first = (await ask(gateway, {"Tags": {"PatientID": "P", "PatientName": "x", "StudyDate": "20200101"}}))[1]
    parent = {"Parent": first["ParentStudy"]}
    for tags in ({"PatientName": "y"}, {"PatientID": "Q"}, {"StudyInstanceUID": "1.2"}, {"SOPInstanceUID": "1.2"}):
        status, answer = await ask(gateway, {"Tags": tags, **parent})
        assert (status, answer["OrthancStatus"], answer["Details"]) == (400, 2020, *tags)
    made = await created(gateway, Tags={"PatientID": "P", "StudyDate": "20210101"}, **parent)
    assert made.StudyDate == "20210101"
    made = await created(gateway, Tags={"PatientName": "y", "SOPInstanceUID": "1.2.3"}, Force=True, **parent)
    assert (made.PatientName, made.SOPInstanceUID) == ("y", "1.2.3")


async def test_an_instance_that_is_there_already_stays(gateway: House) -> None:
    first = (await ask(gateway, {"Tags": {"PatientName": "x"}}))[1]
    tags = {"SOPInstanceUID": (await stored(gateway, first["ID"])).SOPInstanceUID, "PatientName": "y"}
    status, answer = await ask(gateway, {"Tags": tags, "Force": True, "Parent": first["ParentSeries"]})
    assert (status, answer["ID"], answer["Status"]) == (200, first["ID"], "AlreadyStored")
    bad = {"Content": uri("image/png", b"x")}
    body = {"Tags": {}, "Content": [{"Content": picture(GREY), "Tags": tags}, bad], "Force": True}
    assert (await ask(gateway, {**body, "Parent": first["ParentSeries"]}))[0] == 400
    assert (await stored(gateway, first["ID"])).PatientName == "x"


async def test_values_that_are_not_valid_need_force(gateway: House) -> None:
    tags = {"Modality": "lower", "PatientBirthDate": "yesterday"}
    assert (await ask(gateway, {"Tags": tags}))[0] == 400
    made = await created(gateway, Tags=tags, Force=True)
    assert made.Modality == "lower"
    for uid in ("", "x", "1.2\\3.4"):
        assert (await ask(gateway, {"Tags": {"SOPInstanceUID": uid}, "Force": True}))[0] == 400


async def test_the_body_of_old_scripts(gateway: House) -> None:
    status, answer = await ask(gateway, {"PatientName": "Old", "StudyInstanceUID": "1.2.3", "PixelData": picture(GREY)})
    made = await stored(gateway, answer["ID"])
    assert (status, made.PatientName, made.StudyInstanceUID) == (200, "Old", "1.2.3")
    assert (made.pixel_array == GREY).all()


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"x", 8),
        (b"", 8),
        (b"[" * 100_000, 8),
        ([], 8),
        ({"Tags": []}, 8),
        ({"Tags": {"Nope": "x"}}, 8),
        ({"Tags": {"PatientName": "a", "0010,0010": "b"}}, 8),
        ({"Tags": {"PatientName": True}}, 8),
        ({"Tags": {"PatientName": [["a"]]}}, 8),
        ({"Tags": {"Rows": "x"}}, 8),
        ({"Tags": {"ReferencedStudySequence": "x"}}, 8),
        ({"Tags": {"ICCProfile": 5}}, 8),
        ({"Tags": {"ICCProfile": "data:a/b;base64,%"}}, 8),
        ({"Tags": {"Rows": 70000}}, 15),
        ({"Tags": {"PixelData": "x"}}, 2021),
        ({"Tags": {"SpecificCharacterSet": "NOPE"}}, 3),
        ({"Tags": {"SpecificCharacterSet": 5}}, 3),
        ({"PatientName": 5}, 2019),
        ({"Tags": {}, "Force": "x"}, 8),
        ({"Tags": {}, "InterpretBinaryTags": "x"}, 8),
        ({"Tags": {}, "Encapsulate": 1}, 8),
        ({"Tags": {}, "PrivateCreator": 1}, 8),
        ({"Tags": {}, "PrivateCreator": "x" * 65}, 8),
        ({"Tags": {}, "Parent": "x"}, 2024),
        ({"Tags": {}, "Parent": 1}, 2024),
        ({"Tags": {}, "Content": 5}, 2023),
        ({"Tags": {}, "Content": None}, 2023),
        ({"Tags": {}, "Content": [5]}, 2023),
        ({"Tags": {}, "Content": [{}]}, 2022),
        ({"Tags": {}, "Content": "hello"}, 15),
        ({"Tags": {}, "Content": "data:image/png;base64,%%%"}, 15),
        ({"Tags": {}, "Content": "data:image/gif;base64,AAAA"}, 15),
        ({"Tags": {}, "Content": "data:application/pdf;base64,AAAA"}, 15),
        ({"Tags": {}, "Content": "data:model/stl;base64,"}, 15),
        ({"Tags": {"ReferencedStudySequence": [{}] * (create.MAX_MEMBERS + 2)}}, 8),
        ({"Tags": {"ImageType": "A" * (4 << 20) + "B"}}, 8),
        ({"Tags": {}, "Content": [picture(GREY)] * (create.MAX_INSTANCES + 1)}, 8),
        ({"Tags": {}, "Content": uri("image/png", announcing(65535, 65535))}, 15),
        ({"Tags": {}, "Content": uri("image/png", announcing(100, 100))}, 15),
    ],
)
async def test_what_makes_no_sense(gateway: House, body: Any, number: int) -> None:
    status, answer = await ask(gateway, body)
    assert (status, answer["OrthancStatus"]) == (400, number), answer
    assert answer["Details"]
    assert await count(gateway) == 0


async def test_an_instance_has_no_children(gateway: House) -> None:
    first = (await ask(gateway, {"Tags": {}}))[1]
    status, answer = await ask(gateway, {"Tags": {}, "Parent": first["ID"]})
    assert (status, answer["OrthancStatus"]) == (400, 2025)


async def test_a_large_body_goes_by_the_disk_and_a_larger_one_is_refused(
    gateway: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 40_000
    made = await created(gateway, Content=uri("model/stl", content))
    assert made.EncapsulatedDocument == content
    monkeypatch.setattr(create, "MAX_BODY_BYTES", 1 << 20)
    assert (await ask(gateway, {"Tags": {}, "Content": uri("model/stl", content)}))[0] == 413
    assert await count(gateway) == 1


async def test_memory_is_reserved_before_a_picture_is_decoded(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    workspace = gateway.use_cases.retrieval.workspace
    reserve = workspace.reserved
    monkeypatch.setattr(
        gateway.use_cases.retrieval,
        "workspace",
        type(workspace)(workspace.folder, lambda size: taken.append(size) or reserve(size)),
    )
    decode = picture_file.decode
    monkeypatch.setattr(picture_file, "decode", lambda *given: taken.append(-1) or decode(*given))
    await created(gateway, Content=picture(RGB))
    assert taken.index(-1) > max(at for at, size in enumerate(taken) if size >= RGB.nbytes)
    assert gateway.use_cases.retrieval.frame_memory._ledger.taken == 0


async def test_of_a_series_that_nobody_waits_for_nothing_stays(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for it goes away while the second instance is being committed."""
    committing, commit = asyncio.Event(), InstanceWriter.commit
    count_of = [0]

    def counting(self: InstanceWriter) -> Any:
        count_of[0] += 1
        if count_of[0] == 2:
            committing.set()
        return commit(self)

    monkeypatch.setattr(InstanceWriter, "commit", counting)
    order = CreationOrder({}, [NewInstance()] * 3, is_series=True)
    origin = Origin("", "GATEWAY", "", 0.0, "rest")
    task = asyncio.create_task(gateway.use_cases.creation.create(order, origin))
    await committing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert count_of == [2]
    assert await count(gateway) == 0
    assert len(await gateway.use_cases.creation.create(order, origin)) == 3
    assert await count(gateway) == 3
