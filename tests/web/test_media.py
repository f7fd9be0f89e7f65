"""gateway/web/dicomweb/media.py: PS3.18 §8.7.3.3 and its tables."""

from __future__ import annotations

import pytest

from gateway.index.locate import START, Located
from gateway.web.accept import parse
from gateway.web.dicomweb.frames import decodes
from gateway.web.dicomweb.media import COMPRESSED, Form, media_type_of, octet_form, pixel_form, stored_form
from gateway.web.errors import NotAcceptable
from tests.support.datasets import EXPLICIT, IMPLICIT, JPEG_BASELINE

RLE = "1.2.840.10008.1.2.5"
J2K = "1.2.840.10008.1.2.4.90"
MPEG2 = "1.2.840.10008.1.2.4.100"
OCTETS = "application/octet-stream"


def related(media_type: str, syntax: str = "") -> str:
    return f'multipart/related; type="{media_type}"' + (f"; transfer-syntax={syntax}" if syntax else "")


@pytest.mark.parametrize(
    ("accept", "stored", "media_type", "syntax"),
    [
        ("*/*", EXPLICIT, OCTETS, EXPLICIT),
        ("*/*", IMPLICIT, OCTETS, EXPLICIT),
        ("*/*", JPEG_BASELINE, OCTETS, EXPLICIT),
        ("*/*", MPEG2, "video/mpeg", MPEG2),
        ("*/*; transfer-syntax=*", J2K, "image/jp2", J2K),
        ("multipart/related", RLE, OCTETS, EXPLICIT),
        ("multipart/*", RLE, OCTETS, EXPLICIT),
        (related(OCTETS), J2K, OCTETS, EXPLICIT),
        (related(OCTETS, "*"), J2K, OCTETS, J2K),
        (related(OCTETS, "*"), IMPLICIT, OCTETS, EXPLICIT),
        (related(OCTETS, J2K), J2K, OCTETS, J2K),
        (related("image/jpeg"), JPEG_BASELINE, "image/jpeg", JPEG_BASELINE),
        (related("image/jpeg", JPEG_BASELINE), JPEG_BASELINE, "image/jpeg", JPEG_BASELINE),
        (related("image/jp2"), J2K, "image/jp2", J2K),
        (related("image/dicom-rle"), RLE, "image/dicom-rle", RLE),
        (related("image/x-dicom-rle"), RLE, "image/dicom-rle", RLE),
        (related("image/*"), J2K, "image/jp2", J2K),
        (related("*/*", "*"), MPEG2, "video/mpeg", MPEG2),
        (related("video/mpeg2"), MPEG2, "video/mpeg", MPEG2),
        (related("video/*"), MPEG2, "video/mpeg", MPEG2),
        (f"{related('image/gif')}, {related(OCTETS)};q=0.1", EXPLICIT, OCTETS, EXPLICIT),
        (f"{related(OCTETS)};q=0.1, {related('image/jp2')}", J2K, "image/jp2", J2K),
        (f'multipart/related; type="image/jp2; transfer-syntax={J2K}"', J2K, "image/jp2", J2K),
        (f"multipart/related;type=image/jp2;transfer-syntax={J2K}", J2K, "image/jp2", J2K),
    ],
)
def test_pixels(accept: str, stored: str, media_type: str, syntax: str):
    form = pixel_form(parse(accept), stored, single=False)
    assert (form.media_type, form.transfer_syntax) == (media_type, syntax)
    assert form.multipart is ("multipart" in accept or "*/*" in accept)
    assert form.encapsulated is (syntax != EXPLICIT)


@pytest.mark.parametrize(
    ("accept", "stored"),
    [
        ("image/gif", EXPLICIT),
        (related("application/dicom"), EXPLICIT),
        (related(OCTETS), MPEG2),
        (related("image/jpeg", J2K), J2K),
        (related("image/jp2", "1.2.3"), J2K),
        ("application/octet-stream", EXPLICIT),  # several frames need multipart
    ],
)
def test_what_there_is_not(accept: str, stored: str):
    with pytest.raises(NotAcceptable) as error:
        pixel_form(parse(accept), stored, single=False)
    kept = EXPLICIT if stored == EXPLICIT else stored
    assert related(media_type_of(kept), kept) in str(error.value)


def test_one_frame_may_come_alone():
    assert pixel_form(parse(OCTETS), J2K, single=True) == Form(OCTETS, EXPLICIT, False, False)
    assert pixel_form(parse("image/jp2"), J2K, single=True) == Form("image/jp2", J2K, False, True)
    assert pixel_form(parse("*/*"), J2K, single=True).multipart


def test_bulk_data_that_is_no_pixels():
    for accept in ("*/*", "multipart/related", related(OCTETS), related("*/*"), related("application/*")):
        assert octet_form(parse(accept), OCTETS, single=False) == Form(OCTETS, EXPLICIT, True, False)
    assert octet_form(parse("application/pdf"), "application/pdf", single=True) == Form(
        "application/pdf", EXPLICIT, False, False
    )
    assert octet_form(parse(related("application/pdf")), OCTETS, single=True) is None
    assert octet_form(parse(OCTETS), "application/pdf", single=True) == Form(OCTETS, EXPLICIT, False, False)


def test_the_table():
    """PS3.18 Table 8.7.3-5: no transfer syntax is of two media types."""
    uids = [uid for uids in COMPRESSED.values() for uid in uids]
    assert len(uids) == len(set(uids))
    assert media_type_of("1.2.840.10008.1.2.4.202") == "image/jphc"
    assert media_type_of("1.2.840.10008.1.2.4.107") == "video/mp4"
    assert media_type_of("1.2.840.10008.1.2.4.110") == "image/jxl"


@pytest.mark.parametrize(
    ("accept", "stored", "slow"),
    [
        (related(OCTETS, "*"), EXPLICIT, False),
        (related(OCTETS), IMPLICIT, False),
        (related(OCTETS, "*"), J2K, False),
        (related(OCTETS), J2K, True),
        (related("image/jp2"), EXPLICIT, True),
        (related("image/jp2"), RLE, True),
    ],
)
def test_only_what_is_decoded_or_encoded_takes_the_threads_for_that(accept: str, stored: str, slow: bool):
    located = Located(1, "1.1", "1.2", "1.3", "1.4", stored, "key", 0, 0, 1, START)
    assert decodes(pixel_form(parse(accept), stored, single=True), located) is slow


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/jpeg"),
        (f"*/*; transfer-syntax={JPEG_BASELINE}", "image/jpeg"),
        (f"*/*; transfer-syntax={EXPLICIT}", None),
        ("multipart/related", "image/jpeg"),
        ('multipart/related; type="application/octet-stream"', None),
        ('multipart/related; type="application/octet-stream"; transfer-syntax=*', "application/octet-stream"),
        ('multipart/related; type="application/octet-stream", multipart/related; type="image/*";q=0.1', "image/jpeg"),
        ('multipart/related; type="application/octet-stream", image/jpeg', None),
    ],
)
def test_the_form_of_frames_that_cannot_be_decoded(accept: str, media_type: str | None) -> None:
    native = Form("application/octet-stream", EXPLICIT, multipart=True, encapsulated=False)
    found = stored_form(parse(accept), JPEG_BASELINE, native)
    assert found == (None if media_type is None else Form(media_type, JPEG_BASELINE, multipart=True, encapsulated=True))


def test_what_is_not_compressed_has_no_other_form() -> None:
    assert stored_form(parse("*/*"), EXPLICIT, Form("image/jp2", J2K, multipart=True, encapsulated=True)) is None
