"""Elements that document a lossy compression (PS3.3 C.7.6.1.1.5), and the new identity of the image."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from struct import Struct
from typing import Final

from gateway.dicom.recode import Addition
from gateway.dicom.uids import Syntax
from gateway.imaging.encode import ENCODERS

IMAGE_TYPE: Final = 0x00080008
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
DERIVATION_DESCRIPTION: Final = 0x00082111
SOURCE_IMAGE_SEQUENCE: Final = 0x00082112
LOSSY_IMAGE_COMPRESSION: Final = 0x00282110
LOSSY_RATIO: Final = 0x00282112
LOSSY_METHOD: Final = 0x00282114
TAGS: Final = frozenset(
    (
        *(IMAGE_TYPE, SOP_CLASS_UID, SOP_INSTANCE_UID, DERIVATION_DESCRIPTION, SOURCE_IMAGE_SEQUENCE),
        *(LOSSY_IMAGE_COMPRESSION, LOSSY_RATIO, LOSSY_METHOD),
    )
)
"""The attributes read or changed."""

_short = Struct("<HH2sH").pack
_long = Struct("<HH2sHI").pack
_item = Struct("<HHI").pack


def sop_instance_uid(original: str, target_uid: str, quality: int, key: bytes) -> str:
    """The SOP Instance UID of an image compressed with loss, a function of the original, the parameters and `key`.

    `key` is a secret of the caller: without it one UID cannot be derived from the other.
    """
    text = f"{original.strip(chr(0) + ' ')}|{target_uid}|{quality}".encode("ascii", "replace")
    digest = hashlib.blake2b(text, key=key[:64], digest_size=16).digest()
    return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"


def additions(
    values: Mapping[int, bytes], target: Syntax, quality: int, ratio: float, key: bytes | None
) -> list[Addition]:
    """The elements of TAGS that change, complete; `values` has the values of the original.

    Without a `key` the object is another instance already, and stays that one.
    """

    def text(tag: int) -> str:
        return values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def string(tag: int, vr: str, value: str) -> Addition:
        data = value.encode("ascii", "replace")
        return Addition(tag, vr, data + (b"\0" if vr == "UI" else b" ") * (len(data) & 1))

    def one_more(tag: int, value: str) -> str:
        return "\\".join(filter(None, (text(tag), value)))

    original = text(SOP_INSTANCE_UID)
    kind = text(IMAGE_TYPE).split("\\")
    kind = ["DERIVED", *(kind[1:] or ["PRIMARY"])]
    method = ENCODERS[target.uid].method
    elements = [
        string(IMAGE_TYPE, "CS", "\\".join(kind)),
        string(LOSSY_IMAGE_COMPRESSION, "CS", "01"),
        string(LOSSY_RATIO, "DS", one_more(LOSSY_RATIO, f"{ratio:.2f}")),
        string(LOSSY_METHOD, "CS", one_more(LOSSY_METHOD, method)),
    ]
    if DERIVATION_DESCRIPTION not in values:
        elements.append(string(DERIVATION_DESCRIPTION, "ST", f"Compressed with loss: {method}, quality {quality}"))
    if key is None:
        return elements
    elements.append(string(SOP_INSTANCE_UID, "UI", sop_instance_uid(original, target.uid, quality, key)))
    if SOURCE_IMAGE_SEQUENCE not in values and original:
        elements.append(Addition(SOURCE_IMAGE_SEQUENCE, "SQ", _source(text(SOP_CLASS_UID), original)))
    return elements


def _source(sop_class_uid: str, original: str) -> bytes:
    """One item that references the original, with the purpose (PS3.16 CID 7202), in Explicit VR Little Endian."""

    def element(tag: int, vr: str, value: str) -> bytes:
        data = value.encode("ascii", "replace")
        data += (b"\0" if vr == "UI" else b" ") * (len(data) & 1)
        return _short(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(data)) + data

    purpose = _in_item(
        element(0x00080100, "SH", "121320")
        + element(0x00080102, "SH", "DCM")
        + element(0x00080104, "LO", "Uncompressed predecessor")
    )
    return _in_item(
        element(0x00081150, "UI", sop_class_uid)
        + element(0x00081155, "UI", original)
        + _long(0x0040, 0xA170, b"SQ", 0, len(purpose))
        + purpose
    )


def _in_item(elements: bytes) -> bytes:
    return _item(0xFFFE, 0xE000, len(elements)) + elements
