"""Synthetic instances, unique at no cost, in the sizes and structures that modalities send.

The header of a template is encoded once; each instance is a copy of these two kilobytes with a few fixed-length values
overwritten, and the same pixels. `files.py` has instances from real files, `send.py` sends.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
import struct
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from gateway.dicom import uids

_BLOCK: Final = 1 << 20
"""Bytes of pixels in memory; longer pixel data repeat them."""


class Instance(NamedTuple):
    """One composite instance, ready to send. Iterate its `chunks`, the data set, once."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    """The empty text if the data set could not be parsed."""
    transfer_syntax_uid: str
    size: int
    chunks: Iterable[bytes | memoryview]
    series_instance_uid: str = ""
    frames: int = 1


ENDLESS: Final = 1 << 40
"""Number of instances of an unlimited source."""


class Source(Protocol):
    """A source of instances."""

    @property
    def contexts(self) -> Sequence[tuple[str, Sequence[str]]]:
        """(SOP class, transfer syntaxes) to negotiate, at most 128."""

    def total(self, associations: int) -> int:
        """The number of instances of all feeds together."""

    def feed(self, association: int, associations: int) -> Iterator[Instance]:
        """The instances for association number `association` of `associations`, in order."""


@dataclasses.dataclass(frozen=True, slots=True)
class Preset:
    """The instances of one kind of modality: a study of `series` series of `instances` instances each."""

    name: str
    modality: str
    sop_class_uid: str
    rows: int
    columns: int
    bits: int = 16
    frames: int = 1
    series: int = 1
    instances: int = 200

    @property
    def size(self) -> int:
        """Bytes of pixel data."""
        return self.rows * self.columns * self.bits // 8 * self.frames


_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_CT: Final = _STORAGE + "2"
_MULTI_FRAME: Final = {8: _STORAGE + "7.2", 16: _STORAGE + "7.3"}
"""Multi-frame Grayscale Byte and Word Secondary Capture."""

PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset("ct", "CT", _CT, 512, 512, series=3, instances=150),
        Preset("mr", "MR", _STORAGE + "4", 320, 320, series=6, instances=40),
        Preset("pet", "PT", _STORAGE + "128", 200, 200, series=1, instances=300),
        Preset("cr", "CR", _STORAGE + "1", 2140, 1760, instances=2),
        Preset("dx", "DX", _STORAGE + "1.1", 3000, 2400, instances=2),
        Preset("mg", "MG", _STORAGE + "1.2", 4096, 3328, instances=4),
        Preset("us", "US", _STORAGE + "6.1", 768, 1024, 8, instances=20),
        Preset("us-cine", "US", _STORAGE + "3.1", 600, 800, 8, frames=60, instances=30),
        Preset("xa", "XA", _STORAGE + "12.1", 1024, 1024, 8, frames=75, series=8, instances=1),
    )
}

_UNITS: Final = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:I?B)?\Z")


def parse_size(text: str) -> Preset:
    """Parse the name of a preset, or a size of pixel data: `512KB` (a kilobyte is 1024 bytes), `1.5MB`, `8192`.

    Up to 32 MB it is a CT image as square as possible, beyond that many frames. Raises ValueError.
    """
    if (preset := PRESETS.get(text.lower())) is not None:
        return preset
    size = _bytes(text)
    if not 2 <= size <= 0xFFFFFFFE:
        raise ValueError(f"{text!r} is neither a size such as 512KB, up to 4GB, nor one of {', '.join(PRESETS)}")
    if size > 32 << 20:
        frame = 1024 * 1024 * 2
        return Preset(text, "OT", _MULTI_FRAME[16], 1024, 1024, frames=round(size / frame), instances=10)
    columns = 1 << max(0, (size // 2).bit_length() - 1) // 2
    return Preset(text, "CT", _CT, max(1, round(size / 2 / columns)), columns)


def parse_bytes(text: str) -> int:
    """Parse a number of bytes: `400MB`. Raises ValueError."""
    if not (size := _bytes(text)):
        raise ValueError(f"{text!r} is not a size such as 400MB")
    return size


def _bytes(text: str) -> int:
    """Parse a size; 0 for an invalid one."""
    match = _SIZE.match(text.strip().upper())
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0


class Identifiers:
    """New UIDs, 44 characters each.

    They are 2.25 and a UUID as a number (PS3.5 B.2): one random UUID for the run, with a counter in its lowest 48 bits.
    """

    def __init__(self) -> None:
        base = 0
        while base < 10**38:  # always 39 digits
            base = uuid.uuid4().int >> 48 << 48
        self._next = base
        self.run = f"{base >> 104:06X}"
        """Six letters and digits that identify this run."""

    def uid(self) -> bytes:
        self._next += 1
        return b"2.25.%d" % self._next


class Synthetic:
    """A `Source` of `instances` synthetic instances on each association, each of which has its own studies.

    With `distinct`, that many instances repeat on each association, byte for byte.
    """

    def __init__(self, preset: Preset, instances: int, distinct: int | None = None) -> None:
        self.preset = preset
        self.instances = instances
        self.distinct = distinct
        self.contexts: Sequence[tuple[str, Sequence[str]]] = [
            (preset.sop_class_uid, [uids.EXPLICIT_VR_LITTLE_ENDIAN.uid])
        ]
        self._identifiers = Identifiers()
        self._studies = 0
        self._template, self._places = _encode(_header(preset))
        self._pixels = _pixels(preset.size)
        self._size = len(self._template) + sum(map(len, self._pixels))

    def total(self, associations: int) -> int:
        return self.instances * associations

    def feed(self, association: int, associations: int) -> Iterator[Instance]:
        if self.distinct is None:
            return self._new(self.instances)
        return itertools.islice(itertools.cycle(self._new(self.distinct)), self.instances)

    def _new(self, instances: int) -> Iterator[Instance]:
        preset, places, pixels, size = self.preset, self._places, self._pixels, self._size
        new_uid, class_uid, syntax = self._identifiers.uid, preset.sop_class_uid, uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
        header = bytearray(self._template)
        instance_at, number_at = places[_SOP_INSTANCE_UID], places[_INSTANCE_NUMBER]
        study_uid = series_uid = ""
        for index in range(instances):
            series, number = divmod(index, preset.instances)
            if number == 0:
                if series % preset.series == 0:
                    study_uid = self._begin_study(header)
                series_uid = (new := new_uid()).decode()
                _put(header, places[_SERIES_INSTANCE_UID], new)
                _put(header, places[_SERIES_NUMBER], b"%-4d" % (series % preset.series + 1))
            uid = new_uid()
            header[instance_at : instance_at + 44] = uid
            header[number_at : number_at + 6] = b"%-6d" % (number + 1)
            chunks: tuple[bytes | memoryview, ...] = (bytes(header), *pixels)
            yield Instance(class_uid, uid.decode(), study_uid, syntax, size, chunks, series_uid, preset.frames)

    def _begin_study(self, header: bytearray) -> str:
        """Begin a new patient's study; returns its UID."""
        self._studies += 1
        run, uid = self._identifiers.run, self._identifiers.uid()
        _put(header, self._places[_STUDY_INSTANCE_UID], uid)
        _put(header, self._places[_PATIENT_ID], f"LT-{run}-{self._studies:06d}".encode())
        _put(header, self._places[_PATIENT_NAME], f"Loadtest^{run} {self._studies:06d}".encode())
        _put(header, self._places[_ACCESSION_NUMBER], f"A{run}{self._studies:06d}".encode())
        return uid.decode()


def _put(header: bytearray, at: int, value: bytes) -> None:
    header[at : at + len(value)] = value


def _pixels(size: int) -> tuple[memoryview, ...]:
    """Noise, which does not compress, and is the same in every run."""
    block = memoryview(random.Random(size).randbytes(min(size + size % 2, _BLOCK)))
    whole, rest = divmod(size + size % 2, _BLOCK)
    return (block,) * whole + ((block[:rest],) if rest else ())


_SOP_INSTANCE_UID, _ACCESSION_NUMBER = 0x00080018, 0x00080050
_PATIENT_NAME, _PATIENT_ID = 0x00100010, 0x00100020
_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
_SERIES_NUMBER, _INSTANCE_NUMBER = 0x00200011, 0x00200013
_PIXEL_DATA = 0x7FE00010

_Value = str | int | list["_Row"]
_Row = tuple[int, str, _Value]


def _header(preset: Preset) -> list[_Row]:
    """The elements up to the length of the pixel data, with all overwritten values at their full length."""
    uid = "0" * 44
    date, now = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    rows: list[_Row] = [
        (0x00080005, "CS", "ISO_IR 100"),
        (0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        (0x00080016, "UI", preset.sop_class_uid),
        (_SOP_INSTANCE_UID, "UI", uid),
        *((tag, "DA", date) for tag in (0x00080020, 0x00080021, 0x00080022, 0x00080023)),
        *((tag, "TM", now) for tag in (0x00080030, 0x00080031, 0x00080032, 0x00080033)),
        (_ACCESSION_NUMBER, "SH", "A" * 13),
        (0x00080060, "CS", preset.modality),
        (0x00080070, "LO", "dicom-gateway-loadtest"),
        (0x00080080, "LO", "Synthetic Hospital"),
        (0x00080090, "PN", "Referring^Physician"),
        (0x00081010, "SH", f"{preset.modality}01"),
        (0x00081030, "LO", f"Synthetic {preset.modality} study"),
        (0x0008103E, "LO", f"Synthetic {preset.modality} series"),
        (0x00081090, "LO", "Load generator"),
        (_PATIENT_NAME, "PN", "Loadtest^RRRRRR 000000"),
        (_PATIENT_ID, "LO", "LT-RRRRRR-000000"),
        (0x00100030, "DA", "19700101"),
        (0x00100040, "CS", "O"),
        (0x00101010, "AS", "055Y"),
        (0x00180015, "CS", "CHEST"),
        (0x00180050, "DS", "1.0"),
        (0x00180060, "DS", "120"),
        (0x00181020, "LO", "1"),
        (0x00181030, "LO", "Synthetic protocol"),
        (0x00185100, "CS", "HFS"),
        (_STUDY_INSTANCE_UID, "UI", uid),
        (_SERIES_INSTANCE_UID, "UI", uid),
        (0x00200010, "SH", "1"),
        (_SERIES_NUMBER, "IS", " " * 4),
        (_INSTANCE_NUMBER, "IS", " " * 6),
        (0x00200032, "DS", "-250\\-250\\0"),
        (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
        (0x00200052, "UI", uid[:-2] + ".1"),
        (0x00280002, "US", 1),
        (0x00280004, "CS", "MONOCHROME2"),
        *([(0x00280008, "IS", str(preset.frames))] if preset.frames > 1 else []),
        (0x00280010, "US", preset.rows),
        (0x00280011, "US", preset.columns),
        (0x00280030, "DS", "0.976562\\0.976562"),
        (0x00280100, "US", preset.bits),
        (0x00280101, "US", preset.bits),
        (0x00280102, "US", preset.bits - 1),
        (0x00280103, "US", 0),
        (0x00281050, "DS", "32768"),
        (0x00281051, "DS", "65535"),
        (0x00281052, "DS", "-1024"),
        (0x00281053, "DS", "1"),
        (0x00400244, "DA", date),
        (0x00400245, "TM", now),
        (0x00400275, "SQ", [(0x00400009, "SH", "S1"), (0x00401001, "SH", "R1")]),
        (_PIXEL_DATA, "OW" if preset.bits > 8 else "OB", preset.size + preset.size % 2),
    ]
    return rows


def _encode(rows: list[_Row]) -> tuple[bytes, dict[int, int]]:
    """Encode in Explicit VR Little Endian; returns the position of each top-level value too."""
    data = bytearray()
    places = {}
    for tag, vr, value in rows:
        data += struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
        if vr in ("OW", "OB"):
            data += struct.pack("<HI", 0, value)  # The value itself is sent from its own buffer.
            continue
        if isinstance(value, list):
            item, _ = _encode(value)
            raw = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
            data += struct.pack("<HI", 0, len(raw))
        else:
            raw = struct.pack("<H", value) if isinstance(value, int) else value.encode("latin-1")
            raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
            data += struct.pack("<H", len(raw))
        places[tag] = len(data)
        data += raw
    return bytes(data), places
