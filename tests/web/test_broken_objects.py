"""Objects that are wrong in themselves, over every resource that retrieves: never a 500, and nobody else is in the way.

Made by cutting, and by headers that say something else; nothing here crashes or hangs a library.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from gateway.index.identity import public_id
from tests.support.datasets import DEFLATED, EXPLICIT, IMPLICIT, JPEG_BASELINE, encode, instance
from tests.support.web import House, parts

J2K, JPEG_LS, JPEG_XL, RLE, DEFLATED_FRAMES, MPEG2 = (
    f"1.2.840.10008.1.2.{end}" for end in ("4.90", "4.80", "4.110", "5", "8.1", "4.100")
)
STUDY = "/dicom-web/studies/1.1"
ONE = f"{STUDY}/series/1.1.1/instances/1.1.1.1"
PIXELS = np.random.default_rng(1).integers(0, 255, (64, 64)).astype("u1")
BYTES = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
OCTETS = 'multipart/related; type="application/octet-stream"'
DICOM = 'multipart/related; type="application/dicom"'


def object_of(uid: str = "1.1.1.1", **values: Any) -> Dataset:
    found = instance(**{"rows": 64, "columns": 64, **BYTES, "PixelData": PIXELS.tobytes(), **values})
    found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID = "1.1", "1.1.1", uid
    return found


def compressed(*frames: bytes, **values: Any) -> bytes:
    """A data set with these frames; all encapsulated transfer syntaxes are written alike."""
    return encode(object_of(frames=len(frames), PixelData=encapsulate(list(frames)), **values), RLE)


def with_pixels(element: bytes, **values: Any) -> bytes:
    source = object_of(**values)
    del source.PixelData
    return encode(source) + element


JPEG = imagecodecs.jpeg8_encode(PIXELS, 90)
JPEG_2000 = imagecodecs.jpeg2k_encode(PIXELS, 0, codecformat="J2K", reversible=True)
LS = imagecodecs.jpegls_encode(PIXELS)
XL = imagecodecs.jpegxl_encode(PIXELS, lossless=True)
_ELEMENT = struct.Struct("<HH2sHI").pack
_ITEM = struct.Struct("<HHI").pack
OPEN = _ELEMENT(0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)

BROKEN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG, half of it": (JPEG_BASELINE, lambda: compressed(JPEG[: len(JPEG) // 2])),
    "JPEG, two zeros": (JPEG_BASELINE, lambda: compressed(bytes(2))),
    "JPEG, SOI alone": (JPEG_BASELINE, lambda: compressed(JPEG[:2])),
    "JPEG, one frame of three": (JPEG_BASELINE, lambda: compressed(JPEG, JPEG[:100], JPEG)),
    "JPEG of another size": (JPEG_BASELINE, lambda: compressed(JPEG, Rows=65)),
    "JPEG 2000 said to be JPEG": (JPEG_BASELINE, lambda: compressed(JPEG_2000)),
    "JPEG said to be JPEG 2000": (J2K, lambda: compressed(JPEG)),
    "JPEG 2000, half of it": (J2K, lambda: compressed(JPEG_2000[: len(JPEG_2000) // 2])),
    "JPEG 2000, 50 bytes": (J2K, lambda: compressed(JPEG_2000[:50])),
    "JPEG-LS, half of it": (JPEG_LS, lambda: compressed(LS[: len(LS) // 2])),
    "JPEG XL, half of it": (JPEG_XL, lambda: compressed(XL[: len(XL) // 2])),
    "RLE without segments": (RLE, lambda: compressed(bytes(64))),
    "RLE whose segments go back": (RLE, lambda: compressed(struct.pack("<16I", 1, 4096, *[0] * 14) + b"\0")),
    "deflate, cut": (DEFLATED_FRAMES, lambda: compressed(zlib.compress(PIXELS.tobytes(), wbits=-15)[:50])),
    "fewer fragments than frames": (JPEG_BASELINE, lambda: compressed(JPEG, JPEG, NumberOfFrames=7)),
    "no fragment": (JPEG_BASELINE, lambda: with_pixels(OPEN + _ITEM(0xFFFE, 0xE000, 0) + _ITEM(0xFFFE, 0xE0DD, 0))),
    "fragments without an end": (JPEG_BASELINE, lambda: with_pixels(OPEN + _ITEM(0xFFFE, 0xE000, 0))),
    "a fragment that goes too far": (
        JPEG_BASELINE,
        lambda: with_pixels(OPEN + _ITEM(0xFFFE, 0xE000, 0) + _ITEM(0xFFFE, 0xE000, 1 << 30) + JPEG),
    ),
    "fragments where none may be": (EXPLICIT, lambda: compressed(JPEG)),
    "a stream of defined length": (
        JPEG_BASELINE,
        lambda: with_pixels(_ELEMENT(0x7FE0, 0x10, b"OB", 0, 512) + JPEG[:512]),
    ),
    "pixels cut short": (EXPLICIT, lambda: encode(object_of())[:-100]),
    "pixels cut short, implicit": (IMPLICIT, lambda: encode(object_of(), IMPLICIT)[:-100]),
    "fewer pixels than announced": (EXPLICIT, lambda: encode(object_of(PixelData=bytes(100)))),
    "no pixels": (EXPLICIT, lambda: encode(object_of(PixelData=b""))),
    "no rows": (EXPLICIT, lambda: encode(object_of(Rows=0))),
    "no attributes of pixels": (
        EXPLICIT,
        lambda: with_pixels(_ELEMENT(0x7FE0, 0x10, b"OW", 0, 4) + bytes(4), Rows=None),
    ),
    "7 bits allocated": (EXPLICIT, lambda: encode(object_of(BitsAllocated=7))),
    "more bits stored than allocated": (EXPLICIT, lambda: encode(object_of(BitsStored=12, HighBit=11))),
    "2 samples": (EXPLICIT, lambda: encode(object_of(SamplesPerPixel=2, rows=32))),
    "a palette without tables": (EXPLICIT, lambda: encode(object_of(PhotometricInterpretation="PALETTE COLOR"))),
    "colours of no name": (EXPLICIT, lambda: encode(object_of(PhotometricInterpretation="CMYK"))),
    "a window of no width": (EXPLICIT, lambda: encode(object_of(WindowCenter="1", WindowWidth="0"))),
    "nothing at all": (EXPLICIT, lambda: b""),
    "no DICOM": (EXPLICIT, lambda: b"\xff" * 300),
    "an element cut short": (EXPLICIT, lambda: encode(object_of())[:301]),
    "deflated, cut short": (DEFLATED, lambda: encode(object_of(), DEFLATED)[:200]),
    "deflated, that is not": (DEFLATED, lambda: encode(object_of())),
    "an item of no sequence": (EXPLICIT, lambda: _ITEM(0xFFFE, 0xE000, 8) + encode(object_of())),
    "a sequence without an end": (
        EXPLICIT,
        lambda: encode(object_of(PixelData=None)) + _ELEMENT(0x7001, 0x1001, b"SQ", 0, 0xFFFFFFFF),
    ),
    "video that is none": (MPEG2, lambda: compressed(b"no video")),
    "a transfer syntax that nobody knows": ("1.2.3.4", lambda: encode(object_of())),
}
ACCEPTS = (
    "*/*",
    "application/dicom",
    "application/zip",
    f"{DICOM}; transfer-syntax={EXPLICIT}",
    f"{DICOM}; transfer-syntax={J2K}",
    OCTETS,
    'multipart/related; type="image/jpeg"',
    "image/png",
    "image/gif",
    'multipart/related; type="image/jpeg"; transfer-syntax=*',
    "application/dicom+json",
    'multipart/related; type="application/dicom+xml"',
)


def paths(gateway: House) -> list[str]:
    """Every resource that retrieves (PS3.18 §9, §10.4), for the object and for what it is in: the routes say which."""
    patient = public_id(object_of().PatientID)
    names = {
        "patient": patient,
        "study": "1.1",
        "series": "1.1.1",
        "instance": "1.1.1.1",
        "frames": "1",
        "path": "7FE00010",
    }
    templates = {route.resource.canonical for route in gateway.client.app.router.routes() if route.method == "GET"}
    found = [
        template.format(**names)
        for template in sorted(templates)
        if "{study}" in template and "{tenant}" not in template
    ]
    assert len(found) > 20
    found += [f"{ONE}/bulkdata/00100010", f"{ONE}/frames/1,2", f"{ONE}/frames/2/rendered"]
    query = "/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1"
    return [*found, query, f"{query}&contentType=application%2Fdicom", f"{query}&frameNumber=1"]


@pytest.mark.case("case 09 no stored object, however wrong, gets a 500")
@pytest.mark.parametrize("name", BROKEN)
async def test_no_object_gets_a_500(gateway: House, name: str, caplog: pytest.LogCaptureFixture) -> None:
    syntax, data = BROKEN[name]
    await gateway.add(object_of(), syntax, data=data())
    for path in paths(gateway):
        for accept in ACCEPTS:
            answer = await gateway.get(path, accept=accept)
            assert answer.status in (200, 206, 404, 406), (path, accept, await answer.text())
            await answer.read()
    assert [record.message for record in caplog.records if record.exc_info] == []


class TestOneBrokenFrame:
    """PS3.18 §8.7.3.5.1: what cannot be decoded comes as it is stored, unless the client has ruled that out."""

    HALF = compressed(JPEG[: len(JPEG) // 2])

    async def add(self, gateway: House) -> bytes:
        """The broken file; beside it in its study stands one that is not."""
        _, file = await gateway.add(object_of(), JPEG_BASELINE, data=self.HALF)
        await gateway.add(object_of("1.1.1.2"))
        return file

    @pytest.mark.case("case 09 one frame that cannot be decoded does not block its study")
    @pytest.mark.parametrize(
        "accept", ["*/*", DICOM, f"{DICOM}; transfer-syntax={EXPLICIT}, {DICOM}; transfer-syntax=*"]
    )
    async def test_it_comes_as_it_is_stored_and_the_others_decoded(self, gateway: House, accept: str) -> None:
        file = await self.add(gateway)
        answer = await gateway.get(STUDY, accept=accept)
        assert answer.status == 200
        found = dict(parts(answer, await answer.read()))
        assert set(found) == {f"application/dicom; transfer-syntax={uid}" for uid in (EXPLICIT, JPEG_BASELINE)}
        assert found[f"application/dicom; transfer-syntax={JPEG_BASELINE}"] == file

    async def test_alone_and_by_wado_uri(self, gateway: House) -> None:
        file = await self.add(gateway)
        query = "/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1&contentType=application%2Fdicom"
        for path in (ONE, query):
            answer = await gateway.get(path, accept="application/dicom")
            assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={JPEG_BASELINE}"
            assert await answer.read() == file

    async def test_where_that_is_ruled_out_it_is_406_for_that_instance_alone(self, gateway: House) -> None:
        await self.add(gateway)
        refused = await gateway.get(ONE, accept=f"application/dicom; transfer-syntax={EXPLICIT}")
        assert refused.status == 406
        assert "cut short" in (await refused.json())["Details"]
        answer = await gateway.get(STUDY, accept=f"{DICOM}; transfer-syntax={EXPLICIT}")
        assert answer.status == 206, "some of it (PS3.18-2017 §6.5.1.2)"
        ((kind, file),) = parts(answer, await answer.read())
        assert kind == f"application/dicom; transfer-syntax={EXPLICIT}"
        assert pydicom.dcmread(io.BytesIO(file)).SOPInstanceUID == "1.1.1.2"
        zipped = await gateway.get(STUDY, accept=f"application/zip; transfer-syntax={EXPLICIT}")
        assert zipped.status == 206
        assert len(zipfile.ZipFile(io.BytesIO(await zipped.read())).namelist()) == 1
        alone = await gateway.get(
            f"{STUDY}/series/1.1.1/instances/1.1.1.1", accept=f"{DICOM}; transfer-syntax={EXPLICIT}"
        )
        assert alone.status == 406

    async def test_frames_and_bulk_data(self, gateway: House) -> None:
        data = compressed(JPEG, JPEG[:100], JPEG)
        await gateway.add(object_of(frames=3), JPEG_BASELINE, data=data)
        answer = await gateway.get(f"{ONE}/frames/1,2,3")
        kinds = [kind.partition(";")[0] for kind, _ in parts(answer, await answer.read())]
        assert kinds == ["application/octet-stream", "image/jpeg", "application/octet-stream"]
        assert (await gateway.get(f"{ONE}/frames/2", accept=OCTETS)).status == 406
        assert (await gateway.get(f"{ONE}/frames/3", accept=OCTETS)).status == 200
        assert (await gateway.get(f"{ONE}/bulkdata/7FE00010", accept=OCTETS)).status == 406
        answer = await gateway.get(f"{ONE}/bulkdata/7FE00010")
        assert [kind for kind, _ in parts(answer, await answer.read())] == [
            f"image/jpeg; transfer-syntax={JPEG_BASELINE}"
        ] * 3
        await gateway.add(object_of("1.1.1.2"))
        for path in ("bulkdata", "pixeldata"):
            answer = await gateway.get(f"{STUDY}/{path}", accept=OCTETS)
            assert [content for _, content in parts(answer, await answer.read())] == [PIXELS.tobytes()]


class TestSingleBits:
    """PS3.5 §8.1.1, A.4.12: a segmentation of 13 by 7 pixels, each frame deflated by itself."""

    SEGMENTS = np.random.default_rng(1).random((5, 13, 7)) > 0.5
    VALUE = np.packbits(SEGMENTS.reshape(-1), bitorder="little").tobytes()

    async def add(self, gateway: House) -> None:
        frames = [zlib.compress(np.packbits(each, bitorder="little").tobytes(), wbits=-15) for each in self.SEGMENTS]
        bits = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "rows": 13, "columns": 7}
        await gateway.add(object_of(), DEFLATED_FRAMES, data=compressed(*frames, **bits))
        await gateway.add(object_of("1.1.1.2"))

    @pytest.mark.case("case 07 a segmentation of single bits is had by default")
    async def test_by_default(self, gateway: House) -> None:
        await self.add(gateway)
        for path, accept in ((ONE, "*/*"), (ONE, DICOM), (STUDY, "*/*"), (STUDY, DICOM)):
            answer = await gateway.get(path, accept=accept)
            found = [pydicom.dcmread(io.BytesIO(file)) for _, file in parts(answer, await answer.read())]
            (one,) = [each for each in found if each.SOPInstanceUID == "1.1.1.1"]
            assert one.file_meta.TransferSyntaxUID == EXPLICIT
            assert (one.pixel_array == self.SEGMENTS).all()

    async def test_as_bulk_data_and_in_parts_of_it(self, gateway: House) -> None:
        await self.add(gateway)
        answer = await gateway.get(f"{ONE}/bulkdata/7FE00010", accept="application/octet-stream")
        assert await answer.read() == self.VALUE
        for start, stop in ((0, 0), (11, 13), (24, 56), (56, 56)):
            part = await gateway.get(
                f"{ONE}/bulkdata/7FE00010", accept="application/octet-stream", range=f"bytes={start}-{stop}"
            )
            assert await part.read() == self.VALUE[start : stop + 1]
        assert (await gateway.get(f"{ONE}/frames/3/rendered", accept="image/png")).status == 200
