"""What pixel data lack, by lengths and last bytes."""

from __future__ import annotations

import pytest
from pydicom.encaps import encapsulate

from gateway.ingest.header_scan import HeaderScanner
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    UNCOMPRESSED,
    data_sets,
    encode,
    instance,
)

JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_XL = "1.2.840.10008.1.2.4.110"
RLE = "1.2.840.10008.1.2.5"
HEVC = "1.2.840.10008.1.2.4.107"
UNCOMPRESSED_FRAGMENTS = "1.2.840.10008.1.2.1.98"
END = b"\xff\xd9"


def lacking(data: bytes, syntax: str, piece: int = 0) -> str:
    scanner = HeaderScanner(syntax, 1 << 20)
    piece = piece or len(data)
    for at in range(0, len(data), piece):
        if scanner.scan([data[at : at + piece]], complete=at + piece >= len(data)):
            scanner.resume()
    scanner.record()
    return scanner.lacking()


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ""),
        ({"PixelData": bytes(510)}, "510 of 512 bytes of pixel data"),
        ({"PixelData": bytes(514)}, ""),
        ({"PixelData": b""}, "0 of 512 bytes of pixel data"),
        ({"PixelData": None}, "no pixel data, where 512 bytes belong"),
        ({"PixelData": None, "PixelDataProviderURL": "http://pixels/"}, ""),
        ({"PixelData": None, "Rows": None}, ""),
        ({"NumberOfFrames": 3}, "512 of 1536 bytes of pixel data"),
        ({"NumberOfFrames": "0"}, ""),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "512 of 1536 bytes of pixel data"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 5, "Columns": 5, "NumberOfFrames": 160}, ""),
        (
            {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 5, "Columns": 5, "NumberOfFrames": 170},
            "512 of 532 bytes of pixel data",
        ),
        (
            {
                "BitsAllocated": 8,
                "BitsStored": 8,
                "HighBit": 7,
                "SamplesPerPixel": 3,
                "PhotometricInterpretation": "YBR_FULL_422",
            },
            "",  # two bytes a pixel
        ),
    ],
)
def test_of_native_pixel_data(syntax: str, values: dict[str, object], words: str) -> None:
    data = encode(instance(**values), syntax)
    assert lacking(data, syntax) == lacking(data, syntax, 100) == words


def test_floats() -> None:
    data_set = instance(PixelData=None, BitsAllocated=32, BitsStored=32, HighBit=31)
    data_set.FloatPixelData = bytes(1000)
    assert lacking(encode(data_set), EXPLICIT) == "1000 of 1024 bytes of pixel data"


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_LS, JPEG_2000])
@pytest.mark.case("a compressed image whose last frame has no end marker is told from a whole one")
def test_the_last_frame_has_an_end_marker(syntax: str) -> None:
    for frame, words in [
        (b"pixels" + END, ""),
        (b"pixels" + END + b"\0", ""),
        (b"pixels" + END + bytes(range(200)), ""),  # writers leave some of their buffer behind it
        (b"pixels", "the last frame is cut short: it has no end marker"),
    ]:
        frame += b"\0" * (len(frame) & 1)
        data = encode(instance(PixelData=encapsulate([frame])), syntax)
        for piece in (0, 1, 10):
            assert lacking(data, syntax, piece) == words


@pytest.mark.parametrize(
    ("syntax", "fragments", "frames", "words"),
    [
        (JPEG_BASELINE, [END], 2, "1 fragments of pixel data for 2 frames"),
        (JPEG_BASELINE, [b"ab", b"cd", END], 2, ""),
        (RLE, [b"ab", b"cd"], 3, "2 fragments of pixel data for 3 frames"),
        (RLE, [b"ab"], 1, ""),
        (JPEG_XL, [b"ab"], 1, ""),
        (HEVC, [b"ab"], 100, ""),
        (UNCOMPRESSED_FRAGMENTS, [bytes(512)], 1, ""),
        (UNCOMPRESSED_FRAGMENTS, [bytes(510)], 1, "510 of 512 bytes of pixel data"),
    ],
)
def test_of_fragments(syntax: str, fragments: list[bytes], frames: int, words: str) -> None:
    data = encode(instance(NumberOfFrames=frames, PixelData=encapsulate(fragments)), JPEG_BASELINE)
    assert lacking(data, syntax) == words


def test_another_of_the_series_is_judged_by_its_own_attributes() -> None:
    first = instance()
    assert lacking(encode(first), EXPLICIT) == ""
    for number, rows, words in [(2, 16, ""), (3, 17, "512 of 544 bytes of pixel data"), (4, 8, "")]:
        other = instance(SeriesInstanceUID=first.SeriesInstanceUID, InstanceNumber=number, Rows=rows)
        assert lacking(encode(other), EXPLICIT) == words


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_many_elements_are_followed_in_a_thread(syntax: str) -> None:
    data_set = instance(PixelData=bytes(500))
    data_set.PerFrameFunctionalGroupsSequence = [instance(PixelData=None) for _ in range(100)]
    data = encode(data_set, syntax, undefined_lengths=True)
    scanner = HeaderScanner(syntax, 1 << 20)
    assert scanner.scan([memoryview(data)], complete=True)
    scanner.resume()
    assert scanner.lacking() == "500 of 512 bytes of pixel data"


def test_what_lies_in_files_lacks_nothing() -> None:
    """But for samples of pydicom that are the headers of images alone."""
    found = set()
    for path, syntax, data in data_sets():
        try:
            if lacking(data, syntax):
                found.add(path.name)
        except Exception:  # no instance, or cut short: not here
            continue
    assert found == {"chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "chrKoreanMulti.dcm"}
