"""Instances whose metadata and bulk data come apart (PS3.18 §10.5.2), put together and into the ingest.

Bulk data wait in a scratch file; the data set is written around them, so that they are never in memory. Which part of
a request is what is known in `web/dicomweb/stow.py`.
"""

from __future__ import annotations

import asyncio
import binascii
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.archive.ingest import Ingest, Taken
from gateway.dicom.encode import BINARY, Attribute, DataSet, encode_around, from_json
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, Syntax, transfer_syntax
from gateway.dicom.walk import UNDEFINED
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.index.store import Origin
from gateway.storage.scratch import Scratch

_CHUNK = 1 << 20
MAX_NESTED: Final = 64 << 20
"""Bytes of bulk data inside sequences of one instance: these are in memory."""
_LARGEST: Final = 0xFFFFFFFE
"""Bytes of a value with a length (PS3.5 §7.1.1)."""
_FRAGMENT: Final = 1 << 30
"""Bytes of one fragment at most."""
_ITEM, _DELIMITER = struct.pack("<HH", 0xFFFE, 0xE000), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_PIXEL_DATA, _FRAMES = 0x7FE00010, 0x00280008
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_SYNTAX_HINTS = ("00020010", "00083002")
"""Where metadata may name the transfer syntax of the pixel data."""
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
"""Where neither part nor metadata name it (PS3.18 Tables 8.7.3-2 to 8.7.3-4). JPEG says itself which of its kinds."""
_JPEG_KINDS: Final = {0xC0: "1.2.840.10008.1.2.4.50", 0xC1: "1.2.840.10008.1.2.4.51", 0xC3: "1.2.840.10008.1.2.4.57"}
_JPEG_FIRST_ORDER: Final = "1.2.840.10008.1.2.4.70"


@dataclass(frozen=True, slots=True)
class Bulk:
    """One part with bulk data in the scratch file. Of compressed pixels each frame is one."""

    media_type: str
    transfer_syntax_uid: str
    """As the part names it; empty where it does not."""
    offset: int
    length: int


def bulk_uris(model: Mapping[str, Any]) -> set[str]:
    """The bulk data that an instance refers to. DataSetError for what is no DICOM JSON object."""
    return {member["BulkDataURI"] for _depth, member in _by_reference(model)}


def _by_reference(model: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Members with a BulkDataURI, and in how many sequences they stand."""
    waiting: list[tuple[int, Any]] = [(0, model)]
    while waiting:
        depth, data_set = waiting.pop()
        if data_set is None:
            continue
        if not isinstance(data_set, dict):
            raise DataSetError("metadata must be DICOM JSON objects (PS3.18 Annex F)")
        for tag, member in data_set.items():
            if not isinstance(member, dict):
                raise DataSetError(f"{tag[:40]}: not an object")
            if isinstance(member.get("BulkDataURI"), str):
                yield depth, member
            elif member.get("vr") == "SQ" and isinstance(member.get("Value"), list):
                waiting.extend((depth + 1, item) for item in member["Value"])


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to write an instance: its attributes, and the values that come from the scratch file."""

    data_set: DataSet
    syntax: Syntax
    holes: dict[int, tuple[str, int]]
    values: dict[int, list[bytes | tuple[int, int]]]
    """Of each hole: bytes, and (offset, length) in the scratch file."""


async def assemble(
    ingest: Ingest,
    model: bytes,
    bulk: Mapping[str, Sequence[Bulk]],
    scratch: Scratch | None,
    origin: Origin,
    *,
    study_instance_uid: str = "",
) -> asyncio.Task[Taken]:
    """Write one instance and end it: the task of `Ingest.end`.

    `model` is a DICOM JSON object, `bulk` what has come of each of its `bulk_uris`. Nothing of the scratch file is
    needed any more when this returns. DataSetError where the two do not fit, UnsupportedTransferSyntax, and what
    `Ingest.begin` raises.
    """
    plan = await asyncio.to_thread(_plan, model, bulk, scratch)
    reception = ingest.begin(
        transfer_syntax_uid=plan.syntax.uid,
        sop_class_uid=_uid(plan.data_set, _SOP_CLASS),
        sop_instance_uid=_uid(plan.data_set, _SOP_INSTANCE),
        origin=origin,
        study_instance_uid=study_instance_uid,
    )
    try:
        for piece in encode_around(plan.data_set, plan.holes):
            if isinstance(piece, bytes):
                reception.write(piece, None)
                continue
            for part in plan.values[piece]:
                if isinstance(part, bytes):
                    reception.write(part, None)
                    continue
                assert scratch is not None
                offset, length = part
                for at in range(offset, offset + length, _CHUNK):
                    size = min(_CHUNK, offset + length - at)
                    reception.write(await asyncio.to_thread(scratch.read, at, size), None)
                    await reception.drained()
    except BaseException:
        ingest.abandon(reception)
        raise
    return ingest.end(reception)


def _uid(data_set: DataSet, tag: int) -> str:
    uid = data_set.get(tag, Attribute("UI")).text.strip("\0 ")
    if not uid:
        raise DataSetError(f"the metadata have no ({tag >> 16:04X},{tag & 0xFFFF:04X})")
    return uid


def _plan(model: bytes, bulk: Mapping[str, Sequence[Bulk]], scratch: Scratch | None) -> _Plan:
    """Blocks."""
    try:
        attributes: dict[str, Any] = msgspec.json.decode(model)
    except msgspec.DecodeError as error:
        raise DataSetError(f"the metadata cannot be read: {error}") from None
    _fill_nested(attributes, bulk, scratch)
    hint = next(filter(None, (_first(attributes.get(tag)) for tag in _SYNTAX_HINTS)), "")
    data_set = {tag: attribute for tag, attribute in from_json(attributes).items() if tag >> 16 > 2}
    syntax = EXPLICIT_VR_LITTLE_ENDIAN
    holes: dict[int, tuple[str, int]] = {}
    values: dict[int, list[bytes | tuple[int, int]]] = {}
    for name, member in attributes.items():
        tag = int(name, 16)
        uri = member.get("BulkDataURI")
        if not isinstance(uri, str) or tag not in data_set:
            continue
        parts, vr = bulk[uri], data_set[tag].vr
        if vr == "SQ":
            raise DataSetError(f"{name}: a sequence cannot be bulk data")
        if tag == _PIXEL_DATA:
            syntax = _syntax(parts, hint, scratch)
        if tag == _PIXEL_DATA and syntax.encapsulated:
            _check_frames(parts, data_set)
            holes[tag], values[tag] = ("OB", UNDEFINED), list(_encapsulated(parts))
        else:
            length = sum(part.length for part in parts)
            if length > _LARGEST:
                raise DataSetError(f"{name}: {length} bytes are more than a value may have")
            holes[tag] = vr, length + (length & 1)
            values[tag] = [(part.offset, part.length) for part in parts] + [b"\0"] * (length & 1)
    return _Plan(data_set, syntax, holes, values)


def _fill_nested(model: dict[str, Any], bulk: Mapping[str, Sequence[Bulk]], scratch: Scratch | None) -> None:
    left = MAX_NESTED
    for depth, member in _by_reference(model):
        if not depth:
            continue
        parts = bulk[member.pop("BulkDataURI")]
        left -= sum(part.length for part in parts)
        if left < 0:
            raise DataSetError(f"more than {MAX_NESTED} bytes of bulk data inside sequences")
        assert scratch is not None
        data = b"".join([scratch.read(part.offset, part.length) for part in parts])
        if member.get("vr", "UN") in BINARY:
            member["InlineBinary"] = binascii.b2a_base64(data, newline=False).decode()
        else:
            try:
                member["Value"] = [data.decode()] if data else []
            except UnicodeDecodeError:
                raise DataSetError("bulk data of a text attribute is not UTF-8") from None


def _first(member: Any) -> str:
    values = member.get("Value") if isinstance(member, dict) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _syntax(parts: Sequence[Bulk], hint: str, scratch: Scratch | None) -> Syntax:
    """The transfer syntax of the instance: what the parts of its pixel data say (PS3.18 §8.7.3.5)."""
    kinds = {(part.media_type, part.transfer_syntax_uid) for part in parts}
    if len(kinds) != 1:
        raise DataSetError("the frames of an instance are not all of one media type and transfer syntax")
    ((media_type, uid),) = kinds
    compressed = media_type.startswith(("image/", "video/"))
    if not uid and compressed:
        uid = hint if hint and transfer_syntax(hint).encapsulated else _DEFAULTS.get(media_type, "")
        if media_type == "image/jpeg" and scratch is not None:
            uid = _jpeg_kind(scratch.read(parts[0].offset, min(parts[0].length, _CHUNK))) or uid
    syntax = transfer_syntax(uid) if uid else EXPLICIT_VR_LITTLE_ENDIAN
    if syntax.encapsulated:
        return syntax
    if compressed or syntax.big_endian:
        raise UnsupportedTransferSyntax(f"pixel data as {media_type} in transfer syntax {uid or '(none)'}")
    return EXPLICIT_VR_LITTLE_ENDIAN  # bulk data are little endian (PS3.18 §8.7.3.1), whatever they are named


def _jpeg_kind(data: bytes) -> str:
    """The transfer syntax of a JPEG stream by its frame header (ISO 10918-1 B.2.2); empty where it cannot be told."""
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
    """Each part is a frame, but for video, which is one part whatever its frames (PS3.5 §8.2.5)."""
    text = data_set.get(_FRAMES, Attribute("IS")).text.strip()
    frames = int(text) if text.isdigit() else 1
    if len(parts) != frames and not parts[0].media_type.startswith("video/"):
        raise DataSetError(f"{len(parts)} parts with compressed frames for {frames} frames")


def _encapsulated(parts: Sequence[Bulk]) -> Iterator[bytes | tuple[int, int]]:
    """The value of encapsulated pixel data (PS3.5 A.4), with an offset table where there are several frames."""
    offsets, at = [], 0
    for part in parts:
        offsets.append(at)
        at += part.length + (part.length & 1) + 8 * max(1, -(-part.length // _FRAGMENT))
    table = struct.pack(f"<{len(offsets)}I", *offsets) if len(offsets) > 1 and at <= _LARGEST else b""
    yield _ITEM + struct.pack("<I", len(table)) + table
    for part in parts:
        for start in range(0, part.length, _FRAGMENT) or (0,):
            size = min(_FRAGMENT, part.length - start)
            yield _ITEM + struct.pack("<I", size + (size & 1))
            yield part.offset + start, size
            if size & 1:
                yield b"\0"
    yield _DELIMITER
