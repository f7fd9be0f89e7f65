"""A new instance out of attributes and a picture or document: which attributes it has, and its bytes.

What Orthanc writes by itself is written here too. Beside that an instance has a SOP class, and what makes a picture a
secondary capture (PS3.3 A.8.1): without these it could be sent to nobody. Blocking: pictures are decoded.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.dicom.dictionary import KEYWORDS, implicit_vr, keyword_of
from gateway.dicom.encode import Attribute, DataSet, encode_around
from gateway.dicom.levels import UNIQUE_KEYS, Level
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, is_uid
from gateway.dicom.walk import PIXEL_DATA, UNDEFINED
from gateway.errors import BadRequest, DataSetError
from gateway.imaging import picture_file
from gateway.imaging.codestream import parse_jpeg
from gateway.imaging.encapsulate import one_fragment

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
RAW_DATA: Final = "1.2.840.10008.5.1.4.1.1.66"
"""The SOP class of an instance that has neither pixels nor a document, and whose attributes name no class."""
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
RAW_PIXELS: Final = "application/octet-stream"
"""The media type of content that becomes pixel data as it is."""
_DOCUMENTS: Final = {
    "application/pdf": ("1.2.840.10008.5.1.4.1.1.104.1", "OT"),
    "model/stl": ("1.2.840.10008.5.1.4.1.1.104.3", "M3D"),
    "model/obj": ("1.2.840.10008.5.1.4.1.1.104.4", "M3D"),
    "model/mtl": ("1.2.840.10008.5.1.4.1.1.104.5", "M3D"),
}
"""SOP class and modality of documents, by media type."""
MEDIA_TYPES: Final = frozenset({*picture_file.READABLE, *_DOCUMENTS, RAW_PIXELS})
"""Media types of content that is taken."""
_DOCUMENT: Final = KEYWORDS["EncapsulatedDocument"]
_SOP_CLASS: Final = KEYWORDS["SOPClassUID"]
_SOP_INSTANCE: Final = UNIQUE_KEYS["instance"]
_TODAY: Final[Mapping[Level | None, tuple[str, ...]]] = {
    None: ("Study", "Series"),
    "patient": ("Study", "Series"),
    "study": ("Series",),
    "series": (),
}
"""Whose date and time are those of the creation, by the level that the instance is added to."""
_DATED: Final = ("Acquisition", "Content", "InstanceCreation")
REPLACEABLE: Final = frozenset(
    {KEYWORDS[f"{name}{what}"] for name in ("Study", "Series", *_DATED) for what in ("Date", "Time")}
)
"""Attributes that may be given although the instance has them already."""


class Overridden(BadRequest):
    """An attribute is given that the instance has already, from its parent or by itself."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A picture or document to put into an instance."""

    media_type: str
    """One of MEDIA_TYPES."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Encoded:
    """A new instance as it is written."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    pieces: tuple[bytes, ...]
    """The bytes of its data set."""


def new_uid() -> str:
    """A UID made of a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def begun(parent: Level | None, inherited: DataSet, now: float) -> DataSet:
    """Attributes that a new instance has by itself, and that it takes over of its parent. `now`: seconds since 1970.

    All below one parent have its identifiers: a Patient ID that the parent lacks stays empty, and is not made up.
    """
    date, clock = time.strftime("%Y%m%d %H%M%S.000000", time.gmtime(now)).split()
    patient_id = Attribute("LO", [] if parent is not None else [str(uuid.uuid4())])
    made = {UNIQUE_KEYS["patient"]: patient_id}
    made |= {UNIQUE_KEYS[level]: Attribute("UI", [new_uid()]) for level in ("study", "series", "instance")}
    made |= inherited
    for name in (*_TODAY[parent], *_DATED):
        made[KEYWORDS[f"{name}Date"]] = Attribute("DA", [date])
        made[KEYWORDS[f"{name}Time"]] = Attribute("TM", [clock])
    return made


def added(made: DataSet, given: DataSet, *, replaceable: frozenset[int], force: bool) -> DataSet:
    """A data set with the attributes that a request gives. Raises Overridden, unless `force` allows it, for one that
    is there already and neither `replaceable` nor the same."""
    if not force:
        for tag, attribute in given.items():
            if tag in made and tag not in replaceable and (tag != UNIQUE_KEYS["patient"] or made[tag] != attribute):
                raise Overridden(keyword_of(tag) or f"{tag >> 16:04x},{tag & 0xFFFF:04x}")
    return {**made, **given}


def encoded(made: DataSet, payload: Payload | None, *, character_set: str = "", encapsulate: bool = False) -> Encoded:
    """The bytes of an instance, with its picture or document; a JPEG picture as it is where `encapsulate` says so.

    `character_set` is a term that is preferred if it has all letters. Raises: DataSetError for a value that its VR
    cannot hold, and for content that is not what its media type says.
    """
    made, syntax = dict(made), EXPLICIT_VR_LITTLE_ENDIAN.uid
    hole: tuple[int, str, int, bytes] | None = None
    if payload is None:
        made.setdefault(_SOP_CLASS, Attribute("UI", [RAW_DATA]))
    elif payload.media_type in _DOCUMENTS:
        hole = _put_document(made, payload)
    elif payload.media_type == picture_file.JPEG and encapsulate:
        syntax, hole = JPEG_BASELINE, _put_jpeg(made, payload.data)
    else:
        hole = _put_pixels(made, payload)
    for tag in (_SOP_CLASS, *(UNIQUE_KEYS[level] for level in ("study", "series", "instance"))):
        if not is_uid(made[tag].text):
            raise DataSetError(f"{keyword_of(tag)}: {made[tag].text[:80]!r} is no UID")
    pieces = tuple(_pieces(made, hole, character_set))
    return Encoded(made[_SOP_CLASS].text, made[_SOP_INSTANCE].text, syntax, pieces)


def _pieces(made: DataSet, hole: tuple[int, str, int, bytes] | None, character_set: str) -> Iterator[bytes]:
    if hole is None:
        yield from (piece for piece in encode_around(made, {}, prefer=character_set) if isinstance(piece, bytes))
        return
    tag, vr, length, value = hole
    for piece in encode_around(made, {tag: (vr, length)}, prefer=character_set):
        yield piece if isinstance(piece, bytes) else value


def _put_document(made: DataSet, payload: Payload) -> tuple[int, str, int, bytes]:
    if payload.media_type == "application/pdf" and not payload.data.startswith(b"%PDF-"):
        raise DataSetError("Not a PDF file")
    if not payload.data:
        raise DataSetError(f"an empty document of {payload.media_type}")
    sop_class, modality = _DOCUMENTS[payload.media_type]
    made[_SOP_CLASS] = Attribute("UI", [sop_class])
    _put_absent(made, Modality=modality, ConversionType="WSD", MIMETypeOfEncapsulatedDocument=payload.media_type)
    # The pad byte is not part of the document (PS3.3 C.24.2).
    made[KEYWORDS["EncapsulatedDocumentLength"]] = Attribute("UL", [len(payload.data)])
    value = payload.data + b"\0" * (len(payload.data) & 1)
    return _DOCUMENT, "OB", len(value), value


def _put_pixels(made: DataSet, payload: Payload) -> tuple[int, str, int, bytes]:
    _put_absent(made, SOPClassUID=SECONDARY_CAPTURE, Modality="OT", ConversionType="WSD")
    if payload.media_type == RAW_PIXELS:
        value, bits = payload.data, made.get(KEYWORDS["BitsAllocated"], Attribute("US")).text
    else:
        picture = picture_file.decode(payload.media_type, payload.data)
        value, bits = picture.pixels, str(picture.bits_allocated)
        _describe(made, picture.rows, picture.columns, picture.samples_per_pixel, picture.bits_allocated)
        if payload.media_type == picture_file.JPEG:
            _put_lossy(made, payload.data, len(value))
    value += b"\0" * (len(value) & 1)
    return PIXEL_DATA, "OB" if bits == "8" else "OW", len(value), value


def _put_jpeg(made: DataSet, data: bytes) -> tuple[int, str, int, bytes]:
    size, samples = picture_file.announced(picture_file.JPEG, data), picture_file.jpeg_samples(data)
    if not picture_file.is_baseline_jpeg(data):
        raise DataSetError("only JPEG of the baseline process is put in as it is; without Encapsulate it is decoded")
    _put_absent(made, SOPClassUID=SECONDARY_CAPTURE, Modality="OT", ConversionType="WSD")
    _describe(made, size.rows, size.columns, samples, 8)
    stream = parse_jpeg(data)
    if samples == 3 and not stream.is_rgb:
        made[KEYWORDS["PhotometricInterpretation"]] = Attribute("CS", ["YBR_FULL_422"])
    data = data[: stream.length]
    _put_lossy(made, data, size.rows * size.columns * samples)
    return PIXEL_DATA, "OB", UNDEFINED, one_fragment(data)


def _describe(made: DataSet, rows: int, columns: int, samples: int, bits: int) -> None:
    """Put in the Image Pixel attributes of what is decoded (PS3.3 C.7.6.3); grey may be given as MONOCHROME1."""
    numbers = {
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": samples,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
    }
    for keyword, number in numbers.items():
        made[KEYWORDS[keyword]] = Attribute("US", [number])
    if samples == 1:
        made.pop(KEYWORDS["PlanarConfiguration"], None)
        _put_absent(made, PhotometricInterpretation="MONOCHROME2")
    else:
        made[KEYWORDS["PlanarConfiguration"]] = Attribute("US", [0])
        made[KEYWORDS["PhotometricInterpretation"]] = Attribute("CS", ["RGB"])


def _put_lossy(made: DataSet, data: bytes, decoded_bytes: int) -> None:
    """Say that a picture was compressed with loss, which it stays once it is decoded (PS3.3 C.7.6.1.1.5)."""
    ratio = f"{decoded_bytes / max(1, len(data)):.2f}"
    _put_absent(
        made,
        LossyImageCompression="01",
        LossyImageCompressionMethod="ISO_10918_1",
        LossyImageCompressionRatio=ratio,
    )


def _put_absent(made: DataSet, **values: str) -> None:
    """Put in attributes of text that are not there."""
    for keyword, value in values.items():
        tag = KEYWORDS[keyword]
        made.setdefault(tag, Attribute(implicit_vr(tag), [value]))
