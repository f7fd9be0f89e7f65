"""Code streams are looked into once they are stored, and what is found is said and held."""

from __future__ import annotations

import pytest
from pydicom.encaps import encapsulate

from gateway.dicom.part10 import file_header
from gateway.forwarding.control import hold_incomplete
from gateway.forwarding.trace import find_trace
from gateway.index.store import Origin
from gateway.ingest.outcome import StoreResult
from gateway.ingest.part10_receiver import Part10Receiver
from gateway.ingest.pixel_examination import Examination
from tests.forwarding.conftest import Archive
from tests.forwarding.conftest import archive as archive  # the fixture
from tests.support.datasets import CT, JPEG_BASELINE, encode, instance

RLE = "1.2.840.10008.1.2.5"
END = b"\xff\xd9"


async def store(archive: Archive, uid: str, frames: list[bytes], syntax: str = JPEG_BASELINE) -> StoreResult:
    one = instance(SOPInstanceUID=uid, NumberOfFrames=len(frames), PixelData=encapsulate(frames))
    arrival = Part10Receiver(archive.ingest, Origin("CT1", "GATEWAY", "10.0.0.7", archive.now, "dimse"))
    await arrival.write(file_header(sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=syntax))
    await arrival.write(encode(one, JPEG_BASELINE))
    return await arrival.end()


@pytest.mark.case("code streams are looked into in the background, and deliveries of cut ones held")
async def test_every_frame_is_looked_at(archive: Archive) -> None:
    archive.configure(all={"destinations": ["pacs"]}, always={"destinations": ["other"], "incomplete": "send"})
    whole = [b"one" + END + b"\0", b"two" + END + b"\0"]
    planes = b"\2\0\0\0" + (64).to_bytes(4, "little") + (68).to_bytes(4, "little") + bytes(52)
    rle = planes + b"\x81\0\x81\0" + b"\x81\0\x81\0"  # a hundred and twenty-eight zeros, twice, for each byte
    for uid, frames, syntax in [
        ("1.1", whole, JPEG_BASELINE),
        ("1.2", [b"no end", *whole], JPEG_BASELINE),
        ("1.3", [rle], RLE),
        ("1.4", [rle[:-2]], RLE),
    ]:
        assert (await store(archive, uid, frames, syntax)).lacking == ""
    await archive.store("1.5")
    examination = Examination(
        archive.database,
        archive.folder.store,
        lambda instance, lacking: hold_incomplete(instance, lacking, archive.settings),
    )
    assert not await examination.step()  # more is to come only behind a part of 500
    await examination.close()
    found = {each.sop_uid: each for each in await archive.all() if each.destination == "pacs"}
    assert {uid for uid, each in found.items() if each.state == "held"} == {"1.2", "1.4"}
    assert found["1.2"].error == "incomplete: frame 1 is cut short: it has no end marker"
    assert found["1.4"].error.startswith("incomplete: frame 1 cannot be decoded: ")
    assert {each.state for each in await archive.all() if each.destination == "other"} == {"waiting"}
    (told,) = (await find_trace(archive.database, "1.2")).instances
    assert told.item.lacking == "frame 1 is cut short: it has no end marker"
