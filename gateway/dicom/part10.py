"""The DICOM File Format: preamble and File Meta Information (PS3.10 §7.1). The data set behind it is not read here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from gateway.dicom.elements import Element, pick_file_meta
from gateway.dicom.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from gateway.dicom.walk import LONG_VRS, SHORT_VRS
from gateway.errors import DataSetError, TruncatedDataSet

PREAMBLE: Final = bytes(128) + b"DICM"
MAX_META_BYTES: Final = 1 << 20
"""Bytes within which group 0002 must end. A private (0002,0102) is the only large element it may have."""
_FIRST_BYTES: Final = 4096
"""Bytes of the first read: nearly every group 0002 ends in them."""
_FIRST_GROUPS: Final = frozenset({b"\x02\0", b"\x08\0", b"\0\x08"})
"""First bytes of a file without preamble: a tag of group 0002 or 0008, the latter in either byte order."""

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
_PRIVATE_CREATOR: Final = _element(0x00020100, b"UI", IMPLEMENTATION_CLASS_UID, b"\0")
"""Private Information Creator UID: what (0002,0102) is, is for us to say (PS3.10 Table 7.1-1)."""
_GROUP_LENGTH: Final = Struct("<HH2sHI").pack
"""An element with a length of 32 bits, the reserved bytes or none before it: UL with length 4, or OB."""


def file_header(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_aet: str = "",
    sending_aet: str = "",
    receiving_aet: str = "",
    tenant: str = "",
) -> bytes:
    """The bytes before the data set in a file: zeros, `DICM`, group 0002 with our name (PS3.10 Table 7.1-1).

    (0002,0016) to (0002,0018), the origin, are left out if empty, and so is (0002,0102) for the `tenant`. Arguments are
    not checked: the caller has parsed them.
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
    if tenant:
        name = tenant.encode("ascii")
        parts += [_PRIVATE_CREATOR, _GROUP_LENGTH(0x0002, 0x0102, b"OB", 0, len(name) + len(name) % 2), name]
        parts.append(bytes(len(name) % 2))
    group = b"".join(parts)
    return PREAMBLE + _GROUP_LENGTH(0x0002, 0x0000, b"UL", 4, len(group)) + group


@dataclass(frozen=True, slots=True)
class FileMeta:
    """The contents of group 0002 of a file. UIDs are "" if absent."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    data_set_offset: int
    """Offset of the first byte of the data set in the file."""
    elements: dict[int, Element]
    """All elements of group 0002, with offsets from its beginning."""

    @property
    def tenant(self) -> str:
        """Whom the object belongs to, where the file is one of ours; empty for no tenant."""
        creator, name = self.elements.get(0x00020100), self.elements.get(0x00020102)
        if creator is None or name is None or creator.value.rstrip(b"\0") != IMPLEMENTATION_CLASS_UID.encode():
            return ""
        return name.value.rstrip(b"\0").decode("ascii", "replace")


def read_header(read: Callable[[int, int], bytes]) -> FileMeta:
    """Parse the start of a file. `read(offset, length)` returns fewer bytes at the end of the file.

    The group ends where another one begins: known writers leave (0002,0000) out or wrong. Raises: DataSetError for
    a file that is not DICOM, has no transfer syntax, or a group 0002 of more than MAX_META_BYTES; TruncatedDataSet
    for one that ends inside it.
    """
    data = read(0, _FIRST_BYTES)
    if data[128:132] != b"DICM":
        raise DataSetError("not a DICOM file: no DICM at 128 (PS3.10 §7.1)")
    meta = _read_meta(read, data, 132)
    if not meta.transfer_syntax_uid:
        raise DataSetError("File Meta Information has no Transfer Syntax UID (0002,0010)")
    return meta


def find_header(read: Callable[[int, int], bytes]) -> FileMeta | None:
    """Parse the start of a file that may lack the preamble, group 0002, or its transfer syntax; else as `read_header`.

    Such files come from ACR-NEMA archives, from tools that write a bare data set, and from damaged media; DCMTK and
    pydicom (by `force`) read them too. The transfer syntax is then that of the first element, which must be of group
    0008. None for any other file without preamble.
    """
    data = read(0, _FIRST_BYTES)
    if data[128:132] == b"DICM":
        meta = _read_meta(read, data, 132)
    elif data[:2] in _FIRST_GROUPS:
        try:
            meta = _read_meta(read, data, 0)
        except DataSetError:
            return None
    else:
        return None
    if meta.transfer_syntax_uid:
        return meta
    syntax = _syntax_of(read(meta.data_set_offset, 6))
    if syntax is not None:
        return replace(meta, transfer_syntax_uid=syntax)
    if data[128:132] == b"DICM":
        raise DataSetError(
            "File Meta Information has no Transfer Syntax UID (0002,0010), and the data set does not begin with an "
            "element of group 0008 from which to infer it"
        )
    return None


def _syntax_of(beginning: bytes) -> str | None:
    """The uncompressed transfer syntax of a data set by its first bytes (PS3.5 §7.1); None if they leave it open."""
    has_vr = beginning[4:6] in SHORT_VRS or beginning[4:6] in LONG_VRS
    match beginning[:2]:
        case b"\x08\0":
            return (EXPLICIT_VR_LITTLE_ENDIAN if has_vr else IMPLICIT_VR_LITTLE_ENDIAN).uid
        case b"\0\x08" if has_vr:
            return EXPLICIT_VR_BIG_ENDIAN.uid
    return None


def _read_meta(read: Callable[[int, int], bytes], data: bytes, start: int) -> FileMeta:
    """Parse group 0002 at offset `start` of a file that begins with `data`; without elements if there is none."""
    while True:
        try:
            elements, size = pick_file_meta(memoryview(data)[start:])
        except TruncatedDataSet as error:
            more = read(len(data), 3 * len(data)) if len(data) < MAX_META_BYTES else b""
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

    return FileMeta(uid(0x00020010), uid(0x00020002), uid(0x00020003), start + size, elements)
