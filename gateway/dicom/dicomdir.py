"""A DICOMDIR: the directory of a file set on interchange media (PS3.10 §8, PS3.3 Annex F).

Records of patients, studies, series and instances, one below the other. What they say is the caller's; here are the
types of records, their keys, and the bytes with the offsets that lead from one record to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from gateway.dicom import part10
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
FILE_SET_ID: Final = "DICOM_GATEWAY"
_SYNTAX: Final = EXPLICIT_VR_LITTLE_ENDIAN.uid
_IN_USE: Final = 0xFFFF
_NEXT_AT, _LOWER_AT = 8, 30
"""Places of the two offsets in a record: each record begins with (0004,1400), (0004,1410) and (0004,1420)."""
_ITEM: Final = Struct("<HHI")
_SEQUENCE: Final = Struct("<HH2sHI")
_OFFSET: Final = Struct("<I")

PATIENT_KEYS: Final = (0x00100010, 0x00100020)
STUDY_KEYS: Final = (0x00080020, 0x00080030, 0x00080050, 0x00081030, 0x0020000D, 0x00200010)
SERIES_KEYS: Final = (0x00080060, 0x0020000E, 0x00200011)
VRS: Final = {
    0x00080020: "DA",
    0x00080023: "DA",
    0x00080030: "TM",
    0x00080033: "TM",
    0x00080050: "SH",
    0x00080060: "CS",
    0x00081030: "LO",
    0x00100010: "PN",
    0x00100020: "LO",
    0x0020000D: "UI",
    0x0020000E: "UI",
    0x00200010: "SH",
    0x00200011: "IS",
    0x00200013: "IS",
    0x0040A043: "SQ",
    0x0040A491: "CS",
    0x0040A493: "CS",
    0x00420010: "ST",
    0x00420012: "LO",
    0x00700080: "CS",
    0x00700081: "LO",
    0x00700082: "DA",
    0x00700083: "TM",
    0x00700084: "PN",
    0x3004000A: "CS",
    0x30060002: "SH",
    0x30060008: "DA",
    0x30060009: "TM",
    0x30080250: "DA",
    0x30080251: "TM",
    0x300A0002: "SH",
    0x300A0006: "DA",
    0x300A0007: "TM",
}
"""The keys of all records, with their VRs: a key stands in its record even where the object has no value of it."""
_CONTENT: Final = (0x00080023, 0x00080033, 0x00200013)
_LABELLED: Final = (*_CONTENT, 0x00700080, 0x00700081, 0x00700084)
KEYS: Final[dict[str, tuple[int, ...]]] = {
    "IMAGE": (0x00200013,),
    "RT DOSE": (0x00200013, 0x3004000A),
    "RT STRUCTURE SET": (0x00200013, 0x30060002, 0x30060008, 0x30060009),
    "RT PLAN": (0x00200013, 0x300A0002, 0x300A0006, 0x300A0007),
    "RT TREAT RECORD": (0x00200013, 0x30080250, 0x30080251),
    "WAVEFORM": _CONTENT,
    "RAW DATA": _CONTENT,
    "SR DOCUMENT": (*_CONTENT, 0x0040A043, 0x0040A491, 0x0040A493),
    "KEY OBJECT DOC": (*_CONTENT, 0x0040A043),
    "ENCAP DOC": (*_CONTENT, 0x0040A043, 0x00420010, 0x00420012),
    "PRESENTATION": (0x00200013, 0x00700080, 0x00700081, 0x00700082, 0x00700083, 0x00700084),
    "REGISTRATION": _LABELLED,
    "FIDUCIAL": _LABELLED,
    "VALUE MAP": _LABELLED,
}
"""Keys of the records of instances by type (PS3.3 F.5); Specific Character Set is added where it is needed."""
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_TYPES: Final = {
    "481.2": "RT DOSE",
    "481.3": "RT STRUCTURE SET",
    "481.4": "RT TREAT RECORD",
    "481.5": "RT PLAN",
    "481.6": "RT TREAT RECORD",
    "481.7": "RT TREAT RECORD",
    "481.8": "RT PLAN",
    "481.9": "RT TREAT RECORD",
    "66": "RAW DATA",
    "66.1": "REGISTRATION",
    "66.2": "FIDUCIAL",
    "66.3": "REGISTRATION",
    "67": "VALUE MAP",
    "88.59": "KEY OBJECT DOC",
}
_FAMILIES: Final = {"9.": "WAVEFORM", "11.": "PRESENTATION", "88.": "SR DOCUMENT", "104.": "ENCAP DOC"}


def record_type(sop_class_uid: str) -> str:
    """The type of the record of an instance (PS3.3 Table F.4-1); IMAGE for all that have none of their own."""
    rest = sop_class_uid.removeprefix(_STORAGE)
    if rest == sop_class_uid:
        return "IMAGE"
    families = (kind for beginning, kind in _FAMILIES.items() if rest.startswith(beginning))
    return _TYPES.get(rest) or next(families, "IMAGE")


class FileReference(NamedTuple):
    """The file of an instance: where it is on the medium, and what it is."""

    file_id: tuple[str, ...]
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    def attributes(self) -> DataSet:
        return {
            0x00041500: Attribute("CS", self.file_id),
            0x00041510: Attribute("UI", [self.sop_class_uid]),
            0x00041511: Attribute("UI", [self.sop_instance_uid]),
            0x00041512: Attribute("UI", [self.transfer_syntax_uid]),
        }


@dataclass(slots=True, eq=False)
class _Record:
    data: bytes
    below: list[_Record] = field(default_factory=list)
    offset: int = 0


class MediaDirectory:
    """The records of one medium: added instance by instance, then encoded."""

    def __init__(self) -> None:
        self._patients: list[_Record] = []
        self._known: dict[tuple[str, ...], _Record] = {}

    def add(self, path: Sequence[tuple[str, str, DataSet]], reference: FileReference, keys: DataSet) -> None:
        """Add an instance. `path` has what is above it from the patient down: an identifier, type and keys of each.

        Raises DataSetError for a value that its VR cannot hold.
        """
        siblings, place = self._patients, tuple[str, ...]()
        for identifier, kind, attributes in path:
            place = (*place, identifier)
            record = self._known.get(place)
            if record is None:
                record = self._known[place] = _record(kind, attributes)
                siblings.append(record)
            siblings = record.below
        siblings.append(_record(record_type(reference.sop_class_uid), keys | reference.attributes()))

    def encode(self, sop_instance_uid: str) -> Iterator[bytes]:
        """Yield the file."""
        header = part10.file_header(
            sop_class_uid=MEDIA_STORAGE_DIRECTORY, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=_SYNTAX
        )
        at = start = len(header) + len(_head(0, 0)) + _SEQUENCE.size
        for record in _in_order(self._patients):
            record.offset = at
            at += _ITEM.size + len(record.data)
        ends = (self._patients[0].offset, self._patients[-1].offset) if self._patients else (0, 0)
        yield header + _head(*ends) + _SEQUENCE.pack(0x0004, 0x1220, b"SQ", 0, at - start)
        yield from _encoded(self._patients)


def _record(kind: str, attributes: DataSet) -> _Record:
    fixed = {
        0x00041400: Attribute("UL", [0]),
        0x00041410: Attribute("US", [_IN_USE]),
        0x00041420: Attribute("UL", [0]),
        0x00041430: Attribute("CS", [kind]),
    }
    return _Record(encode_data_set({**attributes, **fixed}, _SYNTAX))


def _head(first: int, last: int) -> bytes:
    head = {
        0x00041130: Attribute("CS", [FILE_SET_ID]),
        0x00041200: Attribute("UL", [first]),
        0x00041202: Attribute("UL", [last]),
        0x00041212: Attribute("US", [0]),
    }
    return encode_data_set(head, _SYNTAX)


def _in_order(records: Sequence[_Record]) -> Iterator[_Record]:
    for record in records:
        yield record
        yield from _in_order(record.below)


def _encoded(records: Sequence[_Record]) -> Iterator[bytes]:
    """The items of records and all below them, with their offsets."""
    for number, record in enumerate(records, 1):
        following = records[number].offset if number < len(records) else 0
        lower = record.below[0].offset if record.below else 0
        yield b"".join(
            (
                _ITEM.pack(0xFFFE, 0xE000, len(record.data)),
                record.data[:_NEXT_AT],
                _OFFSET.pack(following),
                record.data[_NEXT_AT + 4 : _LOWER_AT],
                _OFFSET.pack(lower),
                record.data[_LOWER_AT + 4 :],
            )
        )
        yield from _encoded(record.below)
