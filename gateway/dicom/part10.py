"""The DICOM File Format: preamble and File Meta Information (PS3.10 §7.1). The data set behind it is not read here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from gateway.dicom.elements import Element, pick_file_meta
from gateway.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.errors import DataSetError, TruncatedDataSet

PREAMBLE: Final = bytes(128) + b"DICM"
MAX_META: Final = 1 << 20
"""Bytes within which group 0002 must end. A private (0002,0102) is the only large element it may have."""

_short = Struct("<HH2sH").pack


def _element(tag: int, vr: bytes, value: str, pad: bytes) -> bytes:
    data = value.encode("ascii", "replace")
    if len(data) & 1:
        data += pad
    return _short(tag >> 16, tag & 0xFFFF, vr, len(data)) + data


_VERSION: Final = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
_IMPLEMENTATION: Final = _element(0x00020012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0") + _element(
    0x00020013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "
)
_GROUP_LENGTH: Final = Struct("<HH2sHI").pack


def file_header(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_aet: str = "",
    sending_aet: str = "",
    receiving_aet: str = "",
) -> bytes:
    """All that stands before the data set in a file: zeros, `DICM`, group 0002 with our name (PS3.10 Table 7.1-1).

    (0002,0016) to (0002,0018), where it came from, are left out where empty. What is put in is not checked: the
    caller has parsed it.
    """
    parts = [
        _VERSION,
        _element(0x00020002, b"UI", sop_class_uid, b"\0"),
        _element(0x00020003, b"UI", sop_instance_uid, b"\0"),
        _element(0x00020010, b"UI", transfer_syntax_uid, b"\0"),
        _IMPLEMENTATION,
    ]
    if source_aet:
        parts.append(_element(0x00020016, b"AE", source_aet, b" "))
    if sending_aet:
        parts.append(_element(0x00020017, b"AE", sending_aet, b" "))
    if receiving_aet:
        parts.append(_element(0x00020018, b"AE", receiving_aet, b" "))
    group = b"".join(parts)
    return PREAMBLE + _GROUP_LENGTH(0x0002, 0x0000, b"UL", 4, len(group)) + group


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What group 0002 of a file says. UIDs are "" where the file leaves them out."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    data_set_offset: int
    """Offset of the first byte of the data set in the file."""
    elements: dict[int, Element]
    """All of group 0002, offsets from the end of the prefix `DICM`."""


def read_header(read: Callable[[int, int], bytes]) -> FileMeta:
    """Parse the start of a file. `read(offset, length)` gives fewer bytes at the end of the file.

    The group ends where another one begins: known writers leave (0002,0000) out or wrong. Raises DataSetError where
    this is not a DICOM file, has no transfer syntax, or a group 0002 of more than MAX_META bytes; TruncatedDataSet
    where it ends inside it.
    """
    data = read(0, 4096)
    if data[128:132] != b"DICM":
        raise DataSetError("not a DICOM file: no DICM at 128 (PS3.10 §7.1)")
    while True:
        try:
            elements, size = pick_file_meta(memoryview(data)[132:])
        except TruncatedDataSet as error:
            more = read(len(data), 3 * len(data)) if len(data) < MAX_META else b""
            if not more:
                raise TruncatedDataSet(f"File Meta Information: {error}") from None
            data += more
        except DataSetError as error:
            raise DataSetError(f"File Meta Information: {error}") from None
        else:
            break

    def uid(tag: int) -> str:
        element = elements.get(tag)
        return element.value.rstrip(b"\0 ").decode("ascii", "replace") if element is not None else ""

    transfer_syntax_uid = uid(0x00020010)
    if not transfer_syntax_uid:
        raise DataSetError("File Meta Information has no Transfer Syntax UID (0002,0010)")
    return FileMeta(transfer_syntax_uid, uid(0x00020002), uid(0x00020003), 132 + size, elements)
