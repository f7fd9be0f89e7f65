"""Assembling instances whose metadata and bulk data arrive apart (PS3.18 §10.5.2).

Bulk data are in a scratch file; the data set is written around them, so that they are never in memory. The parts
of a request are identified in `web/dicomweb/stow.py`.
"""

from __future__ import annotations

import asyncio
import codecs
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from gateway.dicom.charset import TEXT_VRS
from gateway.dicom.encode import BINARY, NUL_PADDED, Attribute, DataSet, Fragments, encode_around
from gateway.dicom.json import decode_model
from gateway.dicom.json_reader import BulkData, field_values, from_json, is_utf_8
from gateway.dicom.recode import WORD_SIZES
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, Syntax, transfer_syntax
from gateway.dicom.walk import UNDEFINED
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging.jpeg2000 import in_file
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import StoreResult
from gateway.storage.scratch import Scratch

_CHUNK_BYTES = 1 << 20
MAX_MEMORY_BYTES: Final = 64 << 20
"""Bytes of bulk data of one instance in memory: inside sequences, and text in another character set than UTF-8."""
_MAX_VALUE_BYTES: Final = 0xFFFFFFFE
"""Bytes of a value of defined length (PS3.5 §7.1.1)."""
_MAX_FRAGMENT_BYTES: Final = 1 << 30
"""Bytes of one fragment."""
_ITEM, _DELIMITER = struct.pack("<HH", 0xFFFE, 0xE000), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_PIXEL_DATA, _FRAMES = 0x7FE00010, 0x00280008
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_CHARSET = 0x00080005
_UTF_8 = "ISO_IR 192"
_SYNTAX_HINTS = ("00020010", "00083002")
"""Elements of metadata that may name the transfer syntax of the pixel data."""
_DEFAULTS: Final = {
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/x-dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg": "1.2.840.10008.1.2.4.100",
    "video/mpeg2": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102",
}
"""Transfer syntaxes by media type, if neither part nor metadata name one (PS3.18 Tables 8.7.3-2 to 8.7.3-4). A JPEG
stream states its own."""
_JPEG_KINDS: Final = {0xC0: "1.2.840.10008.1.2.4.50", 0xC1: "1.2.840.10008.1.2.4.51", 0xC3: "1.2.840.10008.1.2.4.57"}
_JPEG_FIRST_ORDER: Final = "1.2.840.10008.1.2.4.70"


@dataclass(frozen=True, slots=True)
class Bulk:
    """One part with bulk data, in the scratch file. Of compressed pixels each frame is a part."""

    media_type: str
    transfer_syntax_uid: str
    """The transfer syntax named by the part; empty if none."""
    offset: int
    length: int


def bulk_uris(model: Mapping[str, Any]) -> set[str]:
    """The bulk data URIs of an instance. Raises: DataSetError for invalid DICOM JSON."""
    uris = set()
    waiting: list[Any] = [model]
    while waiting:
        data_set = waiting.pop()
        if data_set is None:
            continue
        if not isinstance(data_set, dict):
            raise DataSetError("metadata must be DICOM JSON objects (PS3.18 Annex F)")
        for tag, member in data_set.items():
            if not isinstance(member, dict):
                raise DataSetError(f"{tag[:40]}: not an object")
            if isinstance(member.get("BulkDataURI"), str):
                uris.add(member["BulkDataURI"])
            elif member.get("vr") == "SQ" and isinstance(member.get("Value"), list):
                waiting.extend(member["Value"])
    return uris


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to write an instance: its attributes, and the values that come from the scratch file."""

    data_set: DataSet
    syntax: Syntax
    holes: dict[int, tuple[str, int]]
    values: dict[int, list[bytes | tuple[int, int]]]
    """Contents of each hole: bytes, and (offset, length) in the scratch file."""
    term: str
    """The required Specific Character Set; empty if any that fits will do."""
    prefer: str
    """The Specific Character Set of the metadata."""


async def assemble(
    ingest: Ingest,
    model: bytes,
    bulk: Mapping[str, Sequence[Bulk]],
    scratch: Scratch | None,
    origin: Origin,
    *,
    study_instance_uid: str = "",
    patient: str = "",
) -> asyncio.Task[StoreResult]:
    """Assemble and commit one instance; returns the task of `InstanceWriter.commit`.

    `model` is a DICOM JSON object, `bulk` the parts for each of its `bulk_uris`. The scratch file is
    no longer used after the return. Raises: DataSetError if the two do not fit; UnsupportedTransferSyntax; errors of
    `Ingest.begin`.
    """
    plan = await asyncio.to_thread(_plan, model, bulk, scratch)
    writer = ingest.begin(
        transfer_syntax_uid=plan.syntax.uid,
        sop_class_uid=_uid(plan.data_set, _SOP_CLASS),
        sop_instance_uid=_uid(plan.data_set, _SOP_INSTANCE),
        origin=origin,
        study_instance_uid=study_instance_uid,
        patient=patient,
    )
    try:
        for piece in encode_around(plan.data_set, plan.holes, term=plan.term, prefer=plan.prefer):
            if isinstance(piece, bytes):
                writer.write(piece, None)
                continue
            for part in plan.values[piece]:
                if isinstance(part, bytes):
                    writer.write(part, None)
                    continue
                assert scratch is not None
                offset, length = part
                for at in range(offset, offset + length, _CHUNK_BYTES):
                    size = min(_CHUNK_BYTES, offset + length - at)
                    writer.write(await asyncio.to_thread(scratch.read, at, size), None)
                    await writer.drained()
    except BaseException:
        writer.abandon()
        raise
    return writer.commit()


def _uid(data_set: DataSet, tag: int) -> str:
    uid = data_set.get(tag, Attribute("UI")).text.strip("\0 ")
    if not uid:
        raise DataSetError(f"the metadata have no ({tag >> 16:04X},{tag & 0xFFFF:04X})")
    return uid


def _plan(model: bytes, bulk: Mapping[str, Sequence[Bulk]], scratch: Scratch | None) -> _Plan:
    """Plan the data set. Blocks."""
    try:
        attributes: dict[str, Any] = decode_model(model)
    except (msgspec.DecodeError, ValueError) as error:
        raise DataSetError(f"the metadata cannot be read: {error}") from None
    values = _Values(bulk, scratch)
    data_set = {tag: attribute for tag, attribute in from_json(attributes, values.find).items() if tag >> 16 > 2}
    hint = next(filter(None, (_first(attributes.get(tag)) for tag in _SYNTAX_HINTS)), "")
    syntax = EXPLICIT_VR_LITTLE_ENDIAN
    parts = values.pixels or values.nested_pixels
    if parts:
        syntax = _syntax(parts, hint, scratch)
    if values.nested_pixels and syntax is not _syntax(values.nested_pixels, hint, scratch):
        raise DataSetError("pixels inside sequences are compressed, but not as those of the instance (PS3.5 A.4)")
    if values.pixels and syntax.encapsulated:
        _check_frames(values.pixels, data_set)
        values.put(_PIXEL_DATA, "OB", UNDEFINED, values.encapsulated(values.pixels))
    elif values.pixels:
        values.add_hole(_PIXEL_DATA, data_set[_PIXEL_DATA].vr, values.pixels)
    stated = data_set[_CHARSET].text if _CHARSET in data_set else ""
    # UTF-8 stays UTF-8: the stated set applies to bulk data too, and storing it again gives equal bytes.
    term = _UTF_8 if values.any_utf_8 or (stated and is_utf_8(stated)) else ""
    return _Plan(data_set, syntax, values.holes, values.contents, term, stated)


class _Values:
    """The values of one instance's bulk data: in memory, or as holes that are filled from the scratch file."""

    def __init__(self, bulk: Mapping[str, Sequence[Bulk]], scratch: Scratch | None) -> None:
        self.holes: dict[int, tuple[str, int]] = {}
        self.contents: dict[int, list[bytes | tuple[int, int]]] = {}
        self.pixels: Sequence[Bulk] = ()
        """Parts for Pixel Data, for which there is no hole yet."""
        self.nested_pixels: Sequence[Bulk] = ()
        """Parts for compressed pixels in an item, such as an icon."""
        self.any_utf_8 = False
        """Whether text in a hole is UTF-8 and not ASCII."""
        self._bulk = bulk
        self._scratch = scratch
        self._memory_left = MAX_MEMORY_BYTES

    def find(self, found: BulkData) -> list[Any]:
        """The values of an attribute; an empty list if a hole takes their place. Raises: DataSetError."""
        place, vr, parts = found.place, found.vr, self._bulk[found.uri]
        if "/" in place:
            if place.endswith("/7FE00010") and _is_compressed(parts):
                self.nested_pixels = parts
                return [self._fragments(parts)]
            return field_values(vr, self._all(parts), place, found.terms)
        tag = int(place, 16)
        if tag == _PIXEL_DATA:
            self.pixels = parts
            return []
        if vr in TEXT_VRS:
            if found.terms and not is_utf_8(found.terms):
                return field_values(vr, self._all(parts), place, found.terms)
            self._check_utf_8(parts, place)
        self.add_hole(tag, vr, parts)
        return []

    def add_hole(self, tag: int, vr: str, parts: Sequence[Bulk]) -> None:
        """Leave a value in the scratch file. Raises: DataSetError if it does not fit the VR."""
        length, word = sum(part.length for part in parts), WORD_SIZES.get(vr, 1)
        if vr == "SQ":
            raise DataSetError(f"{tag:08X}: a sequence cannot be bulk data")
        if length > _MAX_VALUE_BYTES:
            raise DataSetError(f"{tag:08X}: {length} bytes are more than a value may have")
        if length % word and vr not in BINARY:
            raise DataSetError(f"{tag:08X}: {length} bytes are no values of {vr}, which takes {word} for each")
        padding = [b"\0" if vr in NUL_PADDED else b" "] * (length & 1)
        self.put(tag, vr, length + (length & 1), [*((part.offset, part.length) for part in parts), *padding])

    def put(self, tag: int, vr: str, length: int, contents: Iterable[bytes | tuple[int, int]]) -> None:
        """Record a hole for an element, and its contents."""
        self.holes[tag], self.contents[tag] = (vr, length), list(contents)

    def _check_utf_8(self, parts: Sequence[Bulk], place: str) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for part in parts:
                for at in range(part.offset, part.offset + part.length, _CHUNK_BYTES):
                    piece = self._read(at, min(_CHUNK_BYTES, part.offset + part.length - at))
                    self.any_utf_8 = self.any_utf_8 or not piece.isascii()
                    decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise DataSetError(
                f"{place}: the bytes are not UTF-8, but Specific Character Set says so or is absent"
            ) from None

    def encapsulated(self, parts: Sequence[Bulk]) -> Iterator[bytes | tuple[int, int]]:
        """The value of compressed pixel data: of JP2 files the codestreams, without boxes (PS3.5 A.4.4)."""
        return _encapsulated([self._without_boxes(part) for part in parts])

    def _without_boxes(self, part: Bulk) -> Bulk:
        start, stop = in_file(lambda at, length: self._read(part.offset + at, length), part.length)
        return replace(part, offset=part.offset + start, length=stop - start)

    def _fragments(self, parts: Sequence[Bulk]) -> Fragments:
        self._count(parts)
        return Fragments(b"".join([p if isinstance(p, bytes) else self._read(*p) for p in self.encapsulated(parts)]))

    def _all(self, parts: Sequence[Bulk]) -> bytes:
        self._count(parts)
        return b"".join([self._read(part.offset, part.length) for part in parts])

    def _count(self, parts: Sequence[Bulk]) -> None:
        self._memory_left -= sum(part.length for part in parts)
        if self._memory_left < 0:
            raise DataSetError(f"more than {MAX_MEMORY_BYTES} bytes of bulk data inside sequences or not in UTF-8")

    def _read(self, offset: int, length: int) -> bytes:
        assert self._scratch is not None
        return self._scratch.read(offset, length)


def _is_compressed(parts: Sequence[Bulk]) -> bool:
    uid = parts[0].transfer_syntax_uid
    return transfer_syntax(uid).encapsulated if uid else parts[0].media_type.startswith(("image/", "video/"))


def _first(member: Any) -> str:
    values = member.get("Value") if isinstance(member, dict) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _syntax(parts: Sequence[Bulk], hint: str, scratch: Scratch | None) -> Syntax:
    """The transfer syntax of the instance, from the parts of its pixel data (PS3.18 §8.7.3.5)."""
    kinds = {(part.media_type, part.transfer_syntax_uid) for part in parts}
    if len(kinds) != 1:
        raise DataSetError("the frames of an instance are not all of one media type and transfer syntax")
    ((media_type, uid),) = kinds
    compressed = media_type.startswith(("image/", "video/"))
    if not uid and compressed:
        uid = hint if hint and transfer_syntax(hint).encapsulated else _DEFAULTS.get(media_type, "")
        if media_type == "image/jpeg" and scratch is not None:
            uid = _jpeg_kind(scratch.read(parts[0].offset, min(parts[0].length, _CHUNK_BYTES))) or uid
    syntax = transfer_syntax(uid) if uid else EXPLICIT_VR_LITTLE_ENDIAN
    if syntax.encapsulated:
        return syntax
    if compressed or syntax.big_endian:
        raise UnsupportedTransferSyntax(f"pixel data as {media_type} in transfer syntax {uid or '(none)'}")
    return EXPLICIT_VR_LITTLE_ENDIAN  # Bulk data are little endian (PS3.18 §8.7.3.1), whatever they are labelled.


def _jpeg_kind(data: bytes) -> str:
    """The transfer syntax of a JPEG stream by its frame header (ISO 10918-1 B.2.2); empty if undetermined."""
    at = 2
    kind = ""
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_KINDS:
            kind = _JPEG_KINDS[marker]
        elif marker == 0xDA:  # a scan, which names the predictor of lossless coding
            components = data[at + 4]
            first_order = data[at + 5 + 2 * components : at + 6 + 2 * components] == b"\1"
            return _JPEG_FIRST_ORDER if kind == _JPEG_KINDS[0xC3] and first_order else kind
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return kind


def _check_frames(parts: Sequence[Bulk], data_set: DataSet) -> None:
    """Check the number of parts: one for each frame, but one in all for video (PS3.5 §8.2.5)."""
    text = data_set.get(_FRAMES, Attribute("IS")).text.strip()
    frames = int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 1
    if len(parts) != frames and not parts[0].media_type.startswith("video/"):
        raise DataSetError(f"{len(parts)} parts with compressed frames for {frames} frames")


def _encapsulated(parts: Sequence[Bulk]) -> Iterator[bytes | tuple[int, int]]:
    """The value of encapsulated pixel data (PS3.5 A.4), with an offset table if there are several frames."""
    offsets, at = [], 0
    for part in parts:
        offsets.append(at)
        at += part.length + (part.length & 1) + 8 * max(1, -(-part.length // _MAX_FRAGMENT_BYTES))
    table = struct.pack(f"<{len(offsets)}I", *offsets) if len(offsets) > 1 and at <= _MAX_VALUE_BYTES else b""
    yield _ITEM + struct.pack("<I", len(table)) + table
    for part in parts:
        for start in range(0, part.length, _MAX_FRAGMENT_BYTES) or (0,):
            size = min(_MAX_FRAGMENT_BYTES, part.length - start)
            yield _ITEM + struct.pack("<I", size + (size & 1))
            yield part.offset + start, size
            if size & 1:
                yield b"\0"
    yield _DELIMITER
