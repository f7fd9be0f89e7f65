"""Pixels: the headers of compressed frames, what lies beside the picture in them, how frames are found and shown."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace

from gateway.dicom import uids
from gateway.dicom.encode import encode_data_set
from gateway.dicom.json_reader import from_json
from gateway.errors import BadRequest, DataSetError
from gateway.imaging import codestream, icc, jpeg2000, jpegxl, picture_file, rle
from gateway.imaging.image import Image
from gateway.imaging.pixels import locate_pixels
from gateway.imaging.residue import residue
from gateway.render.frame_view import frame_view
from gateway.render.picture import frame_times
from gateway.render.pipeline import render
from gateway.render.rendering import open_subject
from gateway.render.viewport import Viewport
from tests.fuzz.targets.target import EXPLICIT, SYNTAXES, Target, source_of
from tests.support.frame_views import FrameView

_JPEG, _JPEG_LS, _JPEG_2000, _HTJ2K = (f"1.2.840.10008.1.2.4.{end}" for end in ("50", "80", "90", "201"))
_RLE = "1.2.840.10008.1.2.5"


def code_streams(data: bytes) -> None:
    """The headers of every kind of compressed frame, and of picture files."""
    for parse in (codestream.parse_jpeg, jpeg2000.parse_jpeg2000, jpegxl.parse_jpegxl):
        with contextlib.suppress(DataSetError):
            parse(data)
    with contextlib.suppress(DataSetError):
        for _ in jpeg2000.segments(jpeg2000.bare(data)):
            pass
    for kind in picture_file.READABLE:
        with contextlib.suppress(DataSetError):
            picture_file.announced(kind, data)
    with contextlib.suppress(DataSetError):
        for start, stop in rle.bounds(data, data[0] if data else 0):
            rle.used(data[start:stop], 64)


def _code_stream_seeds() -> list[bytes]:
    import imagecodecs
    import numpy

    grey, colour = numpy.arange(64, dtype="u1").reshape(8, 8), numpy.arange(192, dtype="u1").reshape(8, 8, 3)
    encoders = (imagecodecs.jpeg8_encode, imagecodecs.jpegls_encode, imagecodecs.jpegxl_encode)
    made = [bytes(encode(image)) for encode in encoders for image in (grey, colour)]
    made += [
        bytes(imagecodecs.jpeg2k_encode(image, codecformat=form)) for image in (grey, colour) for form in ("j2k", "jp2")
    ]
    made += [bytes(imagecodecs.htj2k_encode(grey)), bytes(imagecodecs.ljpeg_encode(grey))]
    made += [bytes(imagecodecs.png_encode(colour)), b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\1\2"]
    segment = bytes((193, 5, 1, 1, 2))
    return [
        *made,
        struct.pack("<16L", 1, 64, *[0] * 14) + segment,
        struct.pack("<16L", 2, 64, 69, *[0] * 13) + 2 * segment,
    ]


_CLEANED = (_JPEG, _JPEG_LS, _JPEG_2000, _HTJ2K, "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1")
"""Those whose frames are gone through by our own code; JPEG XL and RLE ask a codec."""
_IMAGE = Image(8, 8, 1, "MONOCHROME2", 8, 8, False, 1)


def residues(data: bytes) -> None:
    """The first byte is the transfer syntax. What is overwritten lies in the frame, is not found again, and says
    nothing of the picture; an ICC profile by itself loses nothing twice."""
    if not data:
        return
    profile = icc.without_words(data)
    assert len(profile) == len(data)
    assert icc.without_words(profile) == profile
    syntax, frame = uids.TRANSFER_SYNTAXES[_CLEANED[data[0] % len(_CLEANED)]], data[1:]
    image = replace(_IMAGE, samples_per_pixel=3, photometric_interpretation="RGB") if data[0] & 128 else _IMAGE
    try:
        blanks = sorted(residue(frame, syntax, image))
    except DataSetError:
        return
    clean, end = bytearray(frame), 0
    for start, stop, value in blanks:
        assert end <= start < stop <= len(frame)
        assert len(value) in (0, stop - start)
        clean[start:stop] = value or bytes(stop - start)
        end = stop
    for parse in (codestream.parse_jpeg, jpeg2000.parse_jpeg2000):
        with contextlib.suppress(DataSetError):
            assert parse(bytes(clean)) == parse(frame)
    for start, stop, _value in residue(bytes(clean), syntax, image):
        assert not any(clean[start:stop])  # a box of nothing, at most, where there was none


def _profile() -> bytes:
    """An ICC profile of 200 bytes with a text in each of two tags."""
    tags = struct.pack(">I4sII4sII", 2, b"desc", 160, 20, b"rXYZ", 180, 20)
    body = (bytes(36) + b"acsp").ljust(128, b"\1") + tags
    words = b"desc\0\0\0\0\0\0\0\4abcd".ljust(20, b"\0")
    return struct.pack(">I", 200) + body[4:].ljust(156, b"\0") + words + b"XYZ ".ljust(20, b"\2")


def _residue_seeds() -> list[bytes]:
    made = []
    for stream in _code_stream_seeds():
        if stream.startswith(b"\xff\xd8"):
            comment = b"\xff\xfe\0\6abcd\xff\xe1\0\4ab"
            found = b"\xff\xe2" + struct.pack(">H", 16 + 200) + b"ICC_PROFILE\0\1\1" + _profile()
            kind = 0 if b"\xff\xf7" not in stream else 1
            made += [bytes((kind,)) + stream[:2] + comment + stream[2:] + b"behind"]
            made += [bytes((kind,)) + stream[:2] + found + stream[2:]]
        elif stream.startswith(b"\xff\x4f"):
            made.append(b"\2" + stream + b"behind")
        elif stream[4:8] == b"jP  ":
            xml = struct.pack(">I4s", 12, b"xml ") + b"abcd"
            made.append(b"\2" + stream[:12] + xml + stream[12:] + b"behind")
    return [*(each for each in made if len(each) <= 1024), _profile(), b"\4" + bytes(64) + b"behind"]


_FRAGMENTED = (_JPEG, _JPEG_2000, _RLE)


def frames(data: bytes) -> None:
    """The first byte is the transfer syntax. Frames in fragments are made of what is there, each byte once."""
    if not data:
        return
    syntax, data = _FRAGMENTED[data[0] % len(_FRAGMENTED)], data[1:]
    with contextlib.suppress(DataSetError):
        pixels = locate_pixels(source_of(data), 0, len(data), syntax)
        if pixels is None:
            return
        end = 0
        for number in range(len(pixels)):
            for start, length in pixels.pieces(number):
                assert end <= start <= start + length <= len(data)
                end = start + length
            assert len(pixels.stored(source_of(data), number)) == sum(length for _, length in pixels.pieces(number))


_PIXELS: dict[str, dict[str, object]] = {
    "00280002": {"vr": "US", "Value": [1]},
    "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
    "00280008": {"vr": "IS", "Value": [2]},
    "00280010": {"vr": "US", "Value": [2]},
    "00280011": {"vr": "US", "Value": [2]},
    "00280100": {"vr": "US", "Value": [8]},
    "00280101": {"vr": "US", "Value": [8]},
    "00280102": {"vr": "US", "Value": [7]},
    "00280103": {"vr": "US", "Value": [0]},
}


def _item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def _frame_seeds() -> list[bytes]:
    head = encode_data_set(from_json(_PIXELS), EXPLICIT)
    begin = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    first, second = b"\xff\xd8ab", b"\xff\xd8cdef"
    tables = [b"", struct.pack("<2I", 0, 20), struct.pack("<2I", 0, 12)]
    made = [head + begin + _item(table) + _item(first) + _item(second) + end for table in tables]
    made += [head + begin + _item(tables[1]) + _item(first[:2]) + _item(first[2:]) + _item(second) + end]
    extended = struct.pack("<HH2sHI2Q", 0x7FE0, 0x0001, b"OV", 0, 16, 0, 12)
    return [b"\0" + each for each in (*made, head + extended + begin + _item(b"") + _item(first) * 3 + end)]


_SMALL = Viewport(16, 16)


def pictures(data: bytes) -> None:
    """The first byte is the transfer syntax, none of which needs a codec. Each frame becomes grey or RGB of 8 bits, and
    a description of which every part is there."""
    if not data:
        return
    syntax, data = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    read = source_of(data)
    with contextlib.suppress(DataSetError):
        found = open_subject(read, 0, len(data), syntax)
        assert 0 <= found.representative < len(found)
        frame_times(found.header, len(found))
        image = found.pixels.image
        if image.frame_size > len(data) * 1100:  # what deflate can make of so much
            return
        for frame in range(min(len(found), 3)):
            native = found.pixels.native(read, frame)
            assert len(native) == image.frame_size
            with contextlib.suppress(DataSetError, BadRequest):
                seen = FrameView(frame_view(found, read, frame))
                assert all(len(part) == seen.about["parts"][name][1] for name, part in seen.parts.items())
            with contextlib.suppress(BadRequest):
                photometric = image.decoded_photometric(found.pixels.syntax)
                shown = render(found.header, image, photometric, frame, native, viewport=_SMALL)
                assert shown.dtype == "uint8"
                assert shown.ndim == 2 or shown.shape[2] == 3
                assert max(shown.shape[:2]) <= 16


def _picture_seeds() -> list[bytes]:
    def made(pixels: str, **more: object) -> dict[str, object]:
        return _PIXELS | more | {"7FE00010": {"vr": "OB", "InlineBinary": pixels}}

    eight = "AAECAwQFBgc="
    table = {"00283002": {"vr": "US", "Value": [4, 0, 16]}, "00283006": {"vr": "US", "Value": [0, 9, 99, 999]}}
    window = {"00281050": {"vr": "DS", "Value": [4]}, "00281051": {"vr": "DS", "Value": [8]}}
    rescale = {"00281052": {"vr": "DS", "Value": [-1]}, "00281053": {"vr": "DS", "Value": [2]}}
    palette: dict[str, object] = {"00280004": {"vr": "CS", "Value": ["PALETTE COLOR"]}}
    segmented = dict(palette)
    for colour in (1, 2, 3):
        palette[f"0028110{colour}"] = segmented[f"0028110{colour}"] = {"vr": "US", "Value": [8, 0, 16]}
        palette[f"0028120{colour}"] = {"vr": "OW", "InlineBinary": "AAABAAIAAwAEAAUABgAHAA=="}
        segmented[f"0028122{colour}"] = {"vr": "OW", "InlineBinary": "AAACAAEAAgABAAYACQA="}
    overlay = {
        "60000010": {"vr": "US", "Value": [2]},
        "60000011": {"vr": "US", "Value": [2]},
        "60000040": {"vr": "CS", "Value": ["R"]},
        "60000050": {"vr": "SS", "Value": [1, 1]},
        "60003000": {"vr": "OW", "InlineBinary": "BgA="},
    }
    embedded = overlay | {"60000102": {"vr": "US", "Value": [6]}, "00280101": {"vr": "US", "Value": [4]}}
    del embedded["60003000"]
    colours = {"00280002": {"vr": "US", "Value": [3]}, "00280006": {"vr": "US", "Value": [1]}}
    groups = {
        "52009229": {"vr": "SQ", "Value": [{"00289132": {"vr": "SQ", "Value": [window]}}]},
        "52009230": {"vr": "SQ", "Value": [{"00289145": {"vr": "SQ", "Value": [rescale]}}, {}]},
    }
    labels = {
        "00620001": {"vr": "CS", "Value": ["LABELMAP"]},
        "00620002": {
            "vr": "SQ",
            "Value": [{"00620004": {"vr": "US", "Value": [1]}, "0062000D": {"vr": "US", "Value": [9, 9, 9]}}],
        },
    }
    models = [
        made(eight, **window, **rescale),
        made(eight, **{"00283000": {"vr": "SQ", "Value": [table]}, "00283010": {"vr": "SQ", "Value": [table]}}),
        made(eight, **palette),
        made(eight, **segmented),
        made(eight, **overlay),
        made(eight, **embedded),
        made("AAECAwQFBgcICQoL", **colours, **{"00280004": {"vr": "CS", "Value": ["YBR_FULL"]}}),
        made(eight, **groups),
        made(eight, **labels),
        made(eight, **{"00280100": {"vr": "US", "Value": [1]}, "00280034": {"vr": "IS", "Value": [2, 1]}}),
        made(
            "AAECAwQFBgcICQoLDA0ODw==",
            **{
                "00280100": {"vr": "US", "Value": [16]},
                "00280103": {"vr": "US", "Value": [1]},
                "00280120": {"vr": "SS", "Value": [-1]},
            },
        ),
    ]
    made_of = [from_json(model) for model in models]
    seeds = [bytes((1,)) + encode_data_set(each, SYNTAXES[1]) for each in made_of]
    return seeds + [bytes((number,)) + encode_data_set(made_of[0], SYNTAXES[number]) for number in (0, 2, 3)]


TARGETS = {
    "codestream": Target(code_streams, _code_stream_seeds),
    "residue": Target(residues, _residue_seeds),
    "frames": Target(frames, _frame_seeds),
    "picture": Target(pictures, _picture_seeds),
}
