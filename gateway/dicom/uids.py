"""Unique identifiers: our own, the transfer syntaxes, and the storage SOP classes (PS3.5 §9, PS3.6 Annex A).

The choice of those that a gateway accepts is configuration and not made here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway import __version__
from gateway.dicom.dictionary import pydicom_table
from gateway.errors import UnsupportedTransferSyntax

IMPLEMENTATION_CLASS_UID: Final = "2.25.327549164084860767162149493689179958672"
IMPLEMENTATION_VERSION_NAME: Final = f"DICOMGW_{__version__}"[:16]

VERIFICATION: Final = "1.2.840.10008.1.1"
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"


@dataclass(frozen=True, slots=True)
class Syntax:
    """The properties of a transfer syntax that decide how a data set is encoded (PS3.5 §10, Annex A)."""

    uid: str
    name: str
    keyword: str
    implicit: bool = False
    """Whether elements are encoded without VR."""
    big_endian: bool = False
    deflated: bool = False
    """Whether the whole data set is one raw deflate stream of Explicit VR Little Endian (PS3.5 A.5)."""
    encapsulated: bool = False
    """Whether pixel data is a sequence of fragments (PS3.5 A.4)."""
    retired: bool = False


_IMPLICIT = {"1.2.840.10008.1.2", "1.2.840.10008.1.20"}
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
_BIG_ENDIAN = {"1.2.840.10008.1.2.2"}
# JPIP leaves the pixels with their provider (PS3.5 A.6).
_NATIVE = {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.204"}
# Not encodings of a stored data set: MIME and XML documents, SMPTE real-time streams.
_NO_DATA_SETS = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")

# PS3.6 has them since 2024, pydicom's table not yet.
_NEWER: Final = {
    "1.2.840.10008.1.2.4.110": ("JPEG XL Lossless", "Transfer Syntax", "", "", "JPEGXLLossless"),
    "1.2.840.10008.1.2.4.111": ("JPEG XL JPEG Recompression", "Transfer Syntax", "", "", "JPEGXLJPEGRecompression"),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", "Transfer Syntax", "", "", "JPEGXL"),
    "1.2.840.10008.1.2.8.1": (
        "Deflated Image Frame Compression",
        "Transfer Syntax",
        "",
        "",
        "DeflatedImageFrameCompression",
    ),
}
_UIDS: Final[dict[str, tuple[str, str, str, str, str]]] = _NEWER | pydicom_table("_uid_dict").UID_dictionary

TRANSFER_SYNTAXES: Final[dict[str, Syntax]] = {
    uid: Syntax(
        uid,
        name,
        keyword,
        implicit=uid in _IMPLICIT,
        big_endian=uid in _BIG_ENDIAN,
        deflated=uid in _DEFLATED,
        encapsulated=uid not in _IMPLICIT | _DEFLATED | _BIG_ENDIAN | _NATIVE,
        retired=bool(retired),
    )
    for uid, (name, kind, _info, retired, keyword) in _UIDS.items()
    if kind == "Transfer Syntax" and not uid.startswith(_NO_DATA_SETS)
}
"""Every transfer syntax in which a data set can be stored, retired ones too, in the order of PS3.6 Table A-1."""

IMPLICIT_VR_LITTLE_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2"]
EXPLICIT_VR_LITTLE_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"]
EXPLICIT_VR_BIG_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2.2"]
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1.99"]

# Composite objects of the non-patient and procedure protocol kinds: no study to file them under (PS3.3 A.44 ff.),
# and the media directory, which is no instance at all.
_NO_STUDY = {
    "1.2.840.10008.1.3.10",  # Media Storage Directory
    "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
    "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
    "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
    "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
    "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
    "1.2.840.10008.5.1.4.39.1",  # Color Palette
    "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
    "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
    "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
}
STORAGE_CLASSES: Final[dict[str, str]] = {
    uid: name or uid
    for uid, (name, kind, _info, _retired, _keyword) in _UIDS.items()
    if kind == "SOP Class" and "Storage" in name and "Commitment" not in name and uid not in _NO_STUDY
}
"""SOP class UID to name, for all that store an instance of a study by C-STORE, retired ones too."""

_VALID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\Z")
_UID = re.compile(r"[0-9][0-9.]{0,63}")


def is_valid_uid(text: str) -> bool:
    """Whether the text is a UID (PS3.5 §9.1): numbers without leading zeros, joined by periods, at most 64 letters."""
    return len(text) <= 64 and _VALID.match(text) is not None


def is_uid(text: str) -> bool:
    """Whether the text is accepted as a UID: digits and dots, a digit first, at most 64. Leading zeros and empty
    components, which `is_valid_uid` rejects, occur in practice.

    As a file name such a text stays within its folder.
    """
    return _UID.fullmatch(text) is not None


def transfer_syntax(uid: str) -> Syntax:
    """The transfer syntax with this UID. Raises: UnsupportedTransferSyntax if it is unknown."""
    syntax = TRANSFER_SYNTAXES.get(uid) or TRANSFER_SYNTAXES.get(uid.rstrip("\0 "))
    if syntax is None:
        raise UnsupportedTransferSyntax(f"unknown transfer syntax {uid[:64]!r}")
    return syntax


def name_of(uid: str) -> str:
    """The name of a registered UID for logs and pages, or the UID itself."""
    entry = _UIDS.get(uid)
    return entry[0] if entry is not None and entry[0] else uid


def is_registered(uid: str) -> bool:
    """Whether the UID is in PS3.6 Annex A, in the edition of our tables."""
    return uid in _UIDS
