"""gateway/web/rest/pictures.py and arrays.py; tests/interop/test_orthanc_rest.py compares the pixels with Orthanc's."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from gateway.index.identity import public_id
from tests.support.datasets import read_sample, sample
from tests.support.index import data_set
from tests.support.web import House
from tests.web.test_rendered import image

WIDE = (np.arange(8 * 16, dtype="<u2") * 300).reshape(8, 16)


def wide(*where: str, **values: Any) -> Any:
    """16 by 8 pixels of 16 bits, from 0 to 38100."""
    made = image(
        *where, BitsAllocated=16, BitsStored=16, HighBit=15, **{"PixelData": WIDE.tobytes(), "frames": 1, **values}
    )
    made["PixelData"].VR = "OW"
    return made


async def added(gateway: House, made: Any) -> str:
    await gateway.add(made)
    uids = (made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID)
    return f"/instances/{public_id(str(made.PatientID), *uids)}"


async def body(gateway: House, path: str, status: int = 200, **headers: str) -> bytes:
    answer = await gateway.get(path, **headers)
    assert answer.status == status, await answer.text()
    return await answer.read()


async def pixels(gateway: House, path: str, **headers: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(await body(gateway, path, **headers))))


class TestPictures:
    async def test_preview_spreads_the_values(self, gateway: House):
        one = await added(gateway, image("1.1"))
        shown = await pixels(gateway, f"{one}/preview")
        assert shown[:, 0].tolist() == [0, 36, 73, 109, 146, 182, 219, 255]
        assert (await pixels(gateway, f"{one}/frames/0/preview") == shown).all()

    async def test_the_least_value_of_monochrome1_is_white(self, gateway: House):
        one = await added(gateway, image("1.1", PhotometricInterpretation="MONOCHROME1"))
        assert (await pixels(gateway, f"{one}/preview"))[:, 0].tolist() == [255, 219, 182, 146, 109, 73, 36, 0]

    async def test_a_frame_of_its_own(self, gateway: House):
        one = await added(gateway, image("1.1", frames=3))
        for frame in range(3):
            assert (await pixels(gateway, f"{one}/frames/{frame}/image-uint8"))[1, 0] == 10 + frame
        assert b"no frame" in await body(gateway, f"{one}/frames/3/preview", 404)
        await body(gateway, f"{one}/frames/x/preview", 404)

    async def test_values_that_are_cut_off(self, gateway: House):
        one = await added(gateway, wide("1.1"))
        assert (await pixels(gateway, f"{one}/image-uint8")).max() == 255
        assert (await pixels(gateway, f"{one}/image-uint16") == WIDE).all()
        assert (await pixels(gateway, f"{one}/image-int16")).max() == 32767

    async def test_a_window(self, gateway: House):
        one = await added(gateway, image("1.1"))
        shown = await pixels(gateway, f"{one}/rendered?window-center=35&window-width=70")
        assert shown[:, 0].tolist() == [0, 36, 72, 109, 145, 182, 218, 255]

    async def test_numbers_beyond_reason(self, gateway: House):
        made = image("1.1", RescaleSlope="1e300", RescaleIntercept="-1e300", WindowCenter="1e300", WindowWidth="1e300")
        one = await added(gateway, made)
        assert (await pixels(gateway, f"{one}/rendered")).shape == (8, 16)
        await body(gateway, f"{one}/numpy")

    @pytest.mark.parametrize(
        ("asked", "shape"), [("width=8", (4, 8)), ("height=16", (16, 32)), ("width=8&height=8", (4, 8))]
    )
    async def test_a_size(self, gateway: House, asked: str, shape: tuple[int, int]):
        one = await added(gateway, image("1.1"))
        assert (await pixels(gateway, f"{one}/rendered?{asked}")).shape == shape
        assert (await pixels(gateway, f"{one}/rendered?{asked}&smooth")).shape == shape

    async def test_media_types(self, gateway: House):
        one = await added(gateway, wide("1.1"))
        assert (await body(gateway, f"{one}/preview", accept="image/jpeg")).startswith(b"\xff\xd8")
        small = await body(gateway, f"{one}/preview?quality=10", accept="image/jpeg")
        assert len(small) < len(await body(gateway, f"{one}/preview?quality=100", accept="image/jpeg"))
        found = await body(gateway, f"{one}/image-uint16", accept="image/x-portable-arbitrarymap")
        head, _, samples = found.partition(b"ENDHDR\n")
        assert head.startswith(b"P7\nWIDTH 16\nHEIGHT 8\nDEPTH 1\nMAXVAL 65535\n")
        assert (np.frombuffer(samples, ">u2").reshape(8, 16) == WIDE).all()
        assert b"image/png" in await body(gateway, f"{one}/image-uint16", 406, accept="image/jpeg")

    @pytest.mark.parametrize(
        "asked",
        [*("width=a", "width=-1", "height=99999", "width=9000", "window-width=x", "window-center=nan", "smooth=x")],
    )
    async def test_what_makes_no_sense(self, gateway: House, asked: str):
        await body(gateway, f"{await added(gateway, image('1.1'))}/rendered?{asked}", 400)

    async def test_a_quality_that_makes_no_sense(self, gateway: House):
        one = await added(gateway, image("1.1"))
        for quality in ("0", "101", "x"):
            await body(gateway, f"{one}/preview?quality={quality}", 400, accept="image/jpeg")

    async def test_nothing_to_show(self, gateway: House):
        one = await added(gateway, data_set("1.1"))
        assert b"no pixel data" in await body(gateway, f"{one}/preview", 415)
        assert (await pixels(gateway, f"{one}/preview?returnUnsupportedImage")).shape == (256, 256)
        for name in ("numpy", "numpy?compress", "matlab"):
            await body(gateway, f"{one}/{name}", 415)
        await body(gateway, f"{one}/pdf", 404)
        await body(gateway, "/instances/0-0/preview", 404)

    async def test_a_pdf(self, gateway: House):
        made = data_set("1.1", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=b"%PDF-1.7")
        made["EncapsulatedDocument"].VR = "OB"
        one = await added(gateway, made)
        assert await body(gateway, f"{one}/pdf") == b"%PDF-1.7"
        await body(gateway, f"{one}/pdf", 406, accept="image/png")

    async def test_colours_have_no_single_values(self, gateway: House):
        one = await added(gateway, read_sample(sample("SC_rgb_small_odd.dcm")))
        assert (await pixels(gateway, f"{one}/preview")).shape == (3, 3, 3)
        await body(gateway, f"{one}/image-uint8", 415)

    async def test_entity_tags(self, gateway: House):
        one = await added(gateway, image("1.1"))
        tag = (await gateway.get(f"{one}/preview")).headers["ETag"]
        await body(gateway, f"{one}/preview", 304, if_none_match=tag)
        await body(gateway, f"{one}/rendered", 200, if_none_match=tag)


class TestArrays:
    async def test_numpy(self, gateway: House):
        one = await added(gateway, image("1.1", frames=2, RescaleSlope="0.5", RescaleIntercept="-1"))
        found = np.load(io.BytesIO(await body(gateway, f"{one}/numpy")))
        assert (found.shape, found.dtype, found[1, 1, 0, 0]) == ((2, 8, 16, 1), np.dtype("f4"), 4.5)
        plain = np.load(io.BytesIO(await body(gateway, f"{one}/frames/1/numpy?rescale=false")))
        assert (plain.shape, plain.dtype, plain[1, 0, 0]) == ((8, 16, 1), np.dtype("u1"), 11)
        packed = np.load(io.BytesIO(await body(gateway, f"{one}/numpy?compress")))
        assert (packed["arr_0"] == found).all()
        await body(gateway, f"{one}/frames/2/numpy", 404)

    async def test_matlab(self, gateway: House):
        one = await added(gateway, image("1.1"))
        text = (await body(gateway, f"{one}/matlab")).decode()
        rows = text.removeprefix("double([ ").removesuffix(" ])").split(" ; ")
        assert [row.split() for row in rows] == [[str(10 * row)] * 16 for row in range(8)]

    async def test_raw_in_gzip(self, gateway: House):
        one = await added(gateway, wide("1.1"))
        assert gzip.decompress(await body(gateway, f"{one}/frames/0/raw.gz")) == WIDE.tobytes()


def placed(number: int, height: float | None) -> Any:
    made = image("1.1", "1.1.1", f"1.1.1.{number}", InstanceNumber=number, PixelData=bytes([number]) * 128)
    if height is not None:
        made.ImagePositionPatient = [0, 0, height]
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return made


class TestSlices:
    SERIES = f"/series/{public_id('P1', '1.1', '1.1.1')}"

    async def test_a_volume(self, gateway: House):
        ids = [await added(gateway, placed(number, height)) for number, height in ((1, 5.0), (2, -5.0), (3, 0.0))]
        order = [ids[1], ids[2], ids[0]]
        found = await gateway.json(f"{self.SERIES}/ordered-slices")
        assert found == {
            "Dicom": [f"{each}/file" for each in order],
            "Slices": [f"{each}/frames/0" for each in order],
            "SlicesShort": [[each.removeprefix("/instances/"), 0, 1] for each in order],
            "Type": "Volume",
        }
        array = np.load(io.BytesIO(await body(gateway, f"{self.SERIES}/numpy?rescale=0")))
        assert array[:, 0, 0, 0].tolist() == [2, 3, 1]

    async def test_slices_at_one_place_go_by_number(self, gateway: House):
        ids = [await added(gateway, placed(number, 5.0)) for number in (2, 1)]
        found = await gateway.json(f"{self.SERIES}/ordered-slices")
        assert (found["Type"], found["Dicom"]) == ("Sequence", [f"{each}/file" for each in reversed(ids)])

    async def test_no_order(self, gateway: House):
        for number in (1, 2):
            made = placed(number, None)
            del made.InstanceNumber
            await added(gateway, made)
        assert b"cannot be put in order" in await body(gateway, f"{self.SERIES}/ordered-slices", 400)
        await body(gateway, "/series/0-0/ordered-slices", 404)
        await body(gateway, "/series/0-0/numpy", 404)

    async def test_frames_that_make_no_array(self, gateway: House):
        await added(gateway, placed(1, None))
        other = placed(2, None)
        other.Rows = 4
        await added(gateway, other)
        assert b"not alike" in await body(gateway, f"{self.SERIES}/numpy", 400)


class TestTranscode:
    async def test_another_transfer_syntax(self, gateway: House):
        one = await added(gateway, image("1.1"))
        file = await body(gateway, f"{one}/file?transcode=1.2.840.10008.1.2.5&filename=a.dcm")
        assert b"1.2.840.10008.1.2.5\0" in file[:400]

    async def test_with_loss_where_that_is_asked_for(self, gateway: House):
        """Another image then, which says so; the stored one stays."""
        data_set = image("1.1")
        data_set.Rows = data_set.Columns = 64
        data_set.PixelData = bytes(range(64)) * 64
        one = await added(gateway, data_set)
        for _ in range(2):
            file = await body(gateway, f"{one}/file?transcode=1.2.840.10008.1.2.4.50&lossy-quality=50")
            made = dcmread(io.BytesIO(file))
            assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
            assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID != data_set.SOPInstanceUID
            assert (made.LossyImageCompression, made.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
            assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == data_set.SOPInstanceUID
            assert np.abs(made.pixel_array.astype(int) - np.arange(64)).max() < 40
        small, large = [
            len(await body(gateway, f"{one}/file?transcode=1.2.840.10008.1.2.4.50&lossy-quality={quality}"))
            for quality in (1, 100)
        ]
        assert small < large
        file = await body(gateway, f"{one}/file?transcode=1.2.840.10008.1.2.5&lossy-quality=90")
        assert dcmread(io.BytesIO(file)).SOPInstanceUID == data_set.SOPInstanceUID

    @pytest.mark.parametrize(
        "asked",
        [
            "transcode=1.2.3",
            "transcode=1.2.840.10008.1.2.4.50",
            "transcode=",
            "transcode=1.2.840.10008.1.2.5&lossy-quality=0",
            "transcode=1.2.840.10008.1.2.4.50&lossy-quality=101",
            "transcode=1.2.840.10008.1.2.4.50&lossy-quality=x",
            "transcode=1.2.840.10008.1.2.4.100&lossy-quality=90",
        ],
    )
    async def test_what_cannot_be_had(self, gateway: House, asked: str):
        await body(gateway, f"{await added(gateway, image('1.1'))}/file?{asked}", 400)
