"""Attributes and files of instances over REST."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.retrieve import tag_tree
from gateway.web.rest import instance_files
from tests.support.datasets import DEFLATED, IMPLICIT, instance, sample
from tests.support.index import data_set
from tests.support.web import House, archive


def rich() -> Dataset:
    """A header with a sequence, private attributes, numbers, what is long, and what stands behind the pixel data."""
    made = data_set("1.2.3", "1.2.3.1", "1.2.3.1.1", SpecificCharacterSet="ISO_IR 192", StudyDescription="Größe")
    inner = Dataset()
    inner.PatientID = "X1"
    made.OtherPatientIDsSequence = Sequence([inner, inner])
    made.Rows = 2
    made.Columns = 2
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit = 15
    made.PixelRepresentation = 0
    made.FrameIncrementPointer = 0x00181063
    made.AcquisitionDuration = 0.1
    made.ImageComments = "long " * 100
    made.ICCProfile = b"\0" * 10
    block = made.private_block(0x0009, "GEMS_IDEN_01", create=True)
    block.add_new(0x01, "LO", "GE_GENESIS_FF")
    block.add_new(0xEE, "LO", "new")
    made.add_new(0x7FE00010, "OW", b"\1\0\2\0\3\0\4\0")
    made.add_new(0xFFFCFFFC, "OB", b"\0\0")
    made.add_new(0x60000010, "US", 3)
    made.add_new(0x00080010, "SH", "old")
    return made


@pytest.fixture
async def path(gateway: House) -> str:
    await gateway.add(rich())
    return f"/instances/{(await gateway.json('/instances'))[0]}"


class TestTags:
    @pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2.1", IMPLICIT, DEFLATED])
    async def test_by_tag_with_names_and_types(self, gateway: House, transfer_syntax: str) -> None:
        await gateway.add(rich(), transfer_syntax)
        tags = await gateway.json(f"/instances/{(await gateway.json('/instances'))[0]}/tags")
        assert tags["0008,1030"] == {"Name": "StudyDescription", "Type": "String", "Value": "Größe"}
        assert tags["0010,1002"]["Type"] == "Sequence"
        assert tags["0010,1002"]["Value"][1] == {"0010,0020": {"Name": "PatientID", "Type": "String", "Value": "X1"}}
        assert tags["0028,0009"]["Value"] == "0018,1063"
        assert tags["0018,9073"]["Value"] == "0.10000000000000001"
        assert tags["0020,4000"] == {"Name": "ImageComments", "Type": "TooLong", "Value": None}
        assert tags["0028,2000"] == {"Name": "ICCProfile", "Type": "Null", "Value": None}
        assert tags["0009,0010"] == {"Name": "PrivateCreator", "Type": "String", "Value": "GEMS_IDEN_01"}
        assert tags["0009,1001"] == {
            "Name": "FullFidelity",
            "PrivateCreator": "GEMS_IDEN_01",
            "Type": "String",
            "Value": "GE_GENESIS_FF",
        }
        assert tags["0009,10ee"]["Name"] == "Unknown Tag & Data"
        assert tags["6000,0010"]["Name"] == "OverlayRows"
        assert tags["0008,0010"]["Name"] == "RETIRED_RecognitionCode"
        assert tags["7fe0,0010"] == {"Name": "PixelData", "Type": "Null", "Value": None}
        assert "fffc,fffc" not in tags

    async def test_other_formats(self, gateway: House, path: str) -> None:
        short, simple = await gateway.json(f"{path}/tags?short"), await gateway.json(f"{path}/tags?simplify")
        assert short["0010,1002"] == [{"0010,0020": "X1"}] * 2
        assert simple["OtherPatientIDsSequence"] == [{"PatientID": "X1"}] * 2
        assert simple == await gateway.json(f"{path}/simplified-tags")
        assert "fffc,fffc" in await gateway.json(f"{path}/tags?short&whole")

    async def test_long_ones_where_they_are_asked_for(
        self, gateway: House, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = f"{path}/tags?short&ignore-length=ImageComments,0008-1030"
        assert (await gateway.json(asked))["0020,4000"] == ("long " * 100).rstrip()
        monkeypatch.setattr(tag_tree, "MAX_LONG_BYTES", 10)
        assert (await gateway.json(asked))["0020,4000"] is None

    async def test_they_are_bounded(self, gateway: House, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tag_tree, "MAX_TAGS", 5)
        assert (await gateway.get(f"{path}/tags")).status == 406

    async def test_the_file_meta_information(self, gateway: House, path: str) -> None:
        header = await gateway.json(f"{path}/header?simplify")
        assert header["MediaStorageSOPInstanceUID"] == "1.2.3.1.1"
        assert header["TransferSyntaxUID"] == "1.2.840.10008.1.2.1"
        assert "FileMetaInformationVersion" not in header

    async def test_modules(self, gateway: House, path: str) -> None:
        (study,) = await gateway.json("/studies")
        assert (await gateway.json(f"/studies/{study}/module?simplify"))["StudyDescription"] == "Größe"
        patient = await gateway.json(f"/studies/{study}/module-patient?simplify")
        assert (patient["PatientID"], "StudyDate" in patient) == ("P1", False)
        assert "SOPClassUID" in await gateway.json(f"{path}/module?simplify")

    async def test_what_instances_share(self, gateway: House, path: str) -> None:
        other = rich()
        other.SOPInstanceUID, other.StudyDescription = "1.2.3.1.2", "other"
        await gateway.add(other)
        (study,) = await gateway.json("/studies")
        shared = await gateway.json(f"/studies/{study}/shared-tags?simplify")
        assert shared["PatientID"] == "P1"
        assert not {"SOPInstanceUID", "StudyDescription", "OtherPatientIDsSequence"} & shared.keys()
        each = await gateway.json(f"/studies/{study}/instances-tags?simplify")
        assert {tags["SOPInstanceUID"] for tags in each.values()} == {"1.2.3.1.1", "1.2.3.1.2"}
        assert each[path.rpartition("/")[2]] == await gateway.json(f"{path}/simplified-tags")


class TestContent:
    async def test_lists_and_bytes(self, gateway: House, path: str) -> None:
        top = await gateway.json(f"{path}/content")
        assert top[:2] == ["0008-0005", "0008-0010"]
        assert await gateway.json(f"{path}/content/0010-1002") == ["0", "1"]
        assert await gateway.json(f"{path}/content/0010-1002/1/") == ["0010-0020"]
        answer = await gateway.get(f"{path}/content/OtherPatientIDsSequence/1/PatientID")
        assert (await answer.read(), answer.content_type) == (b"X1", "application/octet-stream")
        assert await (await gateway.get(f"{path}/content/0028-0010")).read() == b"\2\0"

    @pytest.mark.parametrize(
        ("below", "status"),
        [
            ("0010-9999", 404),
            ("0010-1002/2", 404),
            ("0010-1002/1/0010-0010", 404),
            ("0010-0010/0", 404),
            ("nonsense", 400),
            ("0010-1002/x", 400),
            ("/".join(["0010-1002/0"] * 40), 400),
            ("7fe0-0010/9", 404),
            ("7fe0-0010/0/0028-0010", 404),
        ],
    )
    async def test_places_that_are_none(self, gateway: House, path: str, below: str, status: int) -> None:
        assert (await gateway.get(f"{path}/content/{below}")).status == status


class TestPixels:
    async def test_frames_as_they_are_stored(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        made = instance(frames=2, rows=4, columns=4)
        await gateway.add(made)
        path = f"/instances/{(await gateway.json('/instances'))[0]}"
        assert await gateway.json(f"{path}/frames") == [0, 1]
        pictures = ["image-int16", "image-uint16", "image-uint8", "matlab", "numpy", "preview"]
        assert await gateway.json(f"{path}/frames/1") == [*pictures, "raw", "raw.gz", "rendered"]
        size = len(made.PixelData) // 2
        answer = await gateway.get(f"{path}/frames/1/raw")
        assert await answer.read() == made.PixelData[size : 2 * size]
        assert await (await gateway.get(f"{path}/content/7fe0-0010/1")).read() == made.PixelData[size : 2 * size]
        assert await gateway.json(f"{path}/content/7fe0-0010") == ["0", "1"]
        monkeypatch.setattr(instance_files, "MAX_LISTED", 1)
        for below in ("frames", "content/7fe0-0010"):
            assert (await gateway.get(f"{path}/{below}")).status == 400
        for number, status in (("2", 400), ("x", 404), ("9" * 30, 404)):
            assert (await gateway.get(f"{path}/frames/{number}/raw")).status == status

    async def test_fragments_with_their_table(self, compressed: tuple[House, str]) -> None:
        gateway, path = compressed
        source = pydicom.dcmread(sample("JPEG2000.dcm"))
        (stream,) = pydicom.encaps.generate_frames(source.PixelData, number_of_frames=1)
        assert await gateway.json(f"{path}/content/7fe0-0010") == ["0", "1"]
        assert await (await gateway.get(f"{path}/content/7fe0-0010/0")).read() == b""
        assert await (await gateway.get(f"{path}/content/7fe0-0010/1")).read() == stream
        assert (await gateway.get(f"{path}/content/7fe0-0010/2")).status == 404
        answer = await gateway.get(f"{path}/frames/0/raw")
        assert (await answer.read(), answer.content_type) == (stream, "image/jp2")


@pytest.fixture
async def compressed(tmp_path: Path) -> AsyncIterator[tuple[House, str]]:
    async with archive(tmp_path) as made:
        await made.client.post("/instances", data=sample("JPEG2000.dcm").read_bytes())
        yield made, f"/instances/{(await made.json('/instances'))[0]}"


class TestFiles:
    async def test_the_file_as_it_is_stored(self, gateway: House) -> None:
        _key, file = await gateway.add(rich())
        path = f"/instances/{(await gateway.json('/instances'))[0]}"
        for way in ("file", "attachments/dicom/data", "attachments/1/compressed-data"):
            answer = await gateway.get(f"{path}/{way}")
            assert (await answer.read(), answer.content_type) == (file, "application/dicom")
            assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        part = await gateway.get(f"{path}/attachments/dicom/data", range="bytes=128-131")
        assert (part.status, await part.read()) == (206, b"DICM")
        assert (await gateway.get(f"{path}/file", range=f"bytes={len(file)}-")).status == 416
        assert (await gateway.get(f"{path}/file", if_none_match=answer.headers["ETag"])).status == 304

    async def test_its_name(self, gateway: House, path: str) -> None:
        answer = await gateway.get(f'{path}/file?filename=../a"b%0d%0aX: y.dcm')
        assert answer.headers["Content-Disposition"] == 'attachment; filename="abX y.dcm"'

    async def test_what_can_be_asked_about_it(self, gateway: House) -> None:
        key, file = await gateway.add(rich())
        path = f"/instances/{(await gateway.json('/instances'))[0]}/attachments"
        digest, size = hashlib.md5(file).hexdigest(), len(file)
        assert await gateway.json(path) == ["dicom"]
        assert "md5" in await gateway.json(f"{path}/dicom")
        for name, text in (
            ("size", str(size)),
            ("md5", digest),
            ("is-compressed", "0"),
            ("compressed-size", str(size)),
        ):
            assert await (await gateway.get(f"{path}/dicom/{name}")).text() == text
        assert await gateway.json(f"{path}/dicom/info") == {
            "CompressedMD5": digest,
            "CompressedSize": size,
            "ContentType": 1,
            "UncompressedMD5": digest,
            "UncompressedSize": size,
            "Uuid": key,
        }

    @pytest.mark.parametrize("below", ["dicom/nonsense", "1024", "pdf/size", "1024/data"])
    async def test_what_is_not_attached(self, gateway: House, path: str, below: str) -> None:
        assert (await gateway.get(f"{path}/attachments/{below}")).status == 404

    async def test_nothing_is_attached_to_others(self, gateway: House, path: str) -> None:
        (study,) = await gateway.json("/studies")
        assert await gateway.json(f"/studies/{study}/attachments") == []


async def test_instances_that_are_not_there(gateway: House) -> None:
    for below in ("tags", "simplified-tags", "header", "content", "content/0010-0010", "frames", "frames/0", "file"):
        assert (await gateway.get(f"/instances/0-0/{below}")).status == 404
    for below in ("frames/0/raw", "attachments/dicom", "attachments/dicom/md5", "attachments"):
        assert (await gateway.get(f"/instances/0-0/{below}")).status == 404
    for below in ("shared-tags", "instances-tags", "module-patient"):
        assert (await gateway.get(f"/studies/0-0/{below}")).status == 404
