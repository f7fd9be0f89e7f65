"""A whole data set in another transfer syntax: its pixels decoded and encoded, the rest as it was.

Frame by frame, in memory that one frame bounds. What says how pixels lie is corrected; an icon inside a sequence is
left uncompressed, as any syntax allows (PS3.5 A.4). Blocking and long: for a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gateway.dicom import recode, uids
from gateway.dicom.recode import Addition, Changes, Pixels
from gateway.dicom.source import CHUNK, Inflated, Read, Window
from gateway.dicom.uids import Syntax, transfer_syntax
from gateway.dicom.walk import Event, Kind, place, walk
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging import derived, encapsulate, encode
from gateway.imaging import image as attributes
from gateway.imaging.decode import DECODABLE
from gateway.imaging.encode import LOSSLESS, encode_frame
from gateway.imaging.image import MAX_NATIVE, Image
from gateway.imaging.pixels import ENCAPSULATED_ONLY, INFLATE_LIMIT, Level, PixelData
from gateway.imaging.spool import Spool

SOURCES: Final = recode.SOURCES | DECODABLE
"""Transfer syntaxes that can be made into others."""
TARGETS: Final = recode.SOURCES | LOSSLESS
"""What they can be made into without loss."""
PREFERRED: Final = (
    uids.EXPLICIT_VR_LITTLE_ENDIAN.uid,
    uids.IMPLICIT_VR_LITTLE_ENDIAN.uid,
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.57",
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.uid,
    uids.EXPLICIT_VR_BIG_ENDIAN.uid,
)
"""Of TARGETS what a taker is given first: what any image can be had in, then what costs least to make. Lossless forms
of syntaxes that are known for their loss come last, in no order."""

MAX_DECODED: Final = 64 << 30
"""Bytes of pixels of one object that are decoded to be encoded again."""
_KEPT: Final = 16 << 20
"""Bytes of decoded frames that wait to be sent, so that they need not be decoded again."""
_MAX_TEXT: Final = 4096
_MAX_ICONS: Final = 1024
_MAY_BE_PUT: Final = sorted(
    derived.TAGS | ENCAPSULATED_ONLY | {attributes.PHOTOMETRIC_INTERPRETATION, attributes.PLANAR_CONFIGURATION}
)
_RLE: Final = "1.2.840.10008.1.2.5"

Alter = Callable[[bytes, Image], bytes]
"""A decoded frame, and how it is laid out, to another of the same layout."""


def forms(stored: str, accepted: Collection[str]) -> list[str]:
    """In which of the transfer syntaxes `accepted` what is stored in `stored` can be given, without loss, best first.

    As it lies there, where that is among them. A form that most images have may still not be there for this one:
    `transcode` says so by UnsupportedTransferSyntax, and the next may do.
    """
    found = [stored] if stored in accepted else []
    if stored in SOURCES:
        found += [uid for uid in PREFERRED if uid in accepted and uid != stored]
        found += sorted(uid for uid in TARGETS.intersection(accepted) if uid not in PREFERRED and uid != stored)
    return found


def transcode(
    read: Read,
    start: int,
    end: int,
    source_uid: str,
    target_uid: str,
    *,
    quality: int | None = None,
    key: bytes = b"",
    folder: Path | None = None,
    alter: Alter | None = None,
) -> Iterator[bytes]:
    """The data set that `read` gives from `start` to `end` in another transfer syntax, in pieces of 1 MiB at most.

    Before the first piece everything is gone through that could stand in the way of the last one, and b"" is given
    now and then on the way, so that no visit to a thread takes longer than a frame or so: who begins to send can send
    it whole. Raises DataSetError, UnsupportedTransferSyntax or StorageError until then.

    With a `quality`, 1 to 100, pixels may be lost, and what comes out is another image: its SOP Instance UID is
    `derived.sop_instance_uid` of that of the original and of `key`. Compressed frames wait in `folder` for the last.
    With `alter` each frame becomes what it makes of it, in the same transfer syntax too; icons stay.
    """
    source, target = transfer_syntax(source_uid), transfer_syntax(target_uid)
    if source is target and quality is None and alter is None:
        yield from recode.recode(read, start, end, source.uid, target.uid)
        return
    if source.uid not in SOURCES:
        raise UnsupportedTransferSyntax(f"{source.name} is not decoded here")
    if not target.encapsulated and quality is not None:
        raise UnsupportedTransferSyntax(f"{target.name} loses nothing")
    if {source.uid, target.uid} <= recode.SOURCES and alter is None:
        recode.check(read, start, end, source.uid)
        yield from recode.recode(read, start, end, source.uid, target.uid)
        return
    if source.deflated:
        inflated = Inflated(read, start, end, INFLATE_LIMIT)
        read, start, end, source = inflated, 0, inflated.size(), uids.EXPLICIT_VR_LITTLE_ENDIAN
    with Spool(folder) as spool:
        plan = _plan(read, start, end, source)
        plan.alter = alter
        if target.encapsulated:
            yield from _encode(plan, read, target, quality, key, spool)
        else:
            compressed = list(plan.icons)
            if plan.subject is not None and (plan.subject[0].kind is Kind.FRAGMENTS or alter is not None):
                compressed.append((*plan.subject, plan.top))
            yield from _decode(plan, compressed, read)
        changes = Changes(plan.values, plan.made, plan.before)
        yield from recode.recode(read, start, end, source.uid, target.uid, changes)


_Compressed = tuple[Event, PixelData, Level]


@dataclass(slots=True)
class _Plan:
    """What stands where, and what becomes of it."""

    top: Level = field(default_factory=Level)
    subject: tuple[Event, PixelData] | None = None
    """The pixel data of the data set itself."""
    icons: list[_Compressed] = field(default_factory=list)
    """Compressed pixel data inside sequences."""
    places: dict[int, int] = field(default_factory=dict)
    """Offset of the element of the data set itself before which another would stand, by its tag."""
    values: dict[int, bytes | None] = field(default_factory=dict)
    made: dict[int, Pixels] = field(default_factory=dict)
    before: dict[int, list[Addition]] = field(default_factory=dict)
    alter: Alter | None = None

    def frame(self, pixels: PixelData, read: Read, number: int) -> bytes:
        """Decoded, as it is to be."""
        native = pixels.native(read, number)
        if self.alter is None or self.subject is None or pixels is not self.subject[1]:
            return native
        return self.alter(native, pixels.image.decoded(pixels.syntax))

    def put(self, added: Addition) -> None:
        """Have an element of the data set itself with this value, in the place of one or anew."""
        before = self.before.setdefault(self.places[added.tag], [])
        before.append(added)
        before.sort(key=lambda each: each.tag)
        if added.tag in self.top.starts:
            self.values[self.top.starts[added.tag]] = None


def _plan(read: Read, start: int, end: int, source: Syntax) -> _Plan:
    """What is to be decoded, and where the elements stand that change with it."""
    plan = _Plan()
    window = Window(read, start, end)
    levels = [plan.top]
    unplaced = _MAY_BE_PUT
    for event in walk(window, start, source):
        kind, tag, level = event.kind, event.tag, levels[-1]
        outside = len(levels) == 1
        if kind is Kind.ITEM:
            levels.append(Level())
            continue
        if kind is Kind.ITEM_END:
            levels.pop()
            continue
        if kind is Kind.SEQUENCE_END:
            continue
        while outside and unplaced and tag >= unplaced[0]:
            plan.places[unplaced[0]] = event.start
            unplaced = unplaced[1:]
        if kind is Kind.FRAGMENTS and tag != attributes.PIXEL_DATA:
            raise DataSetError(f"{place(tag, event.start)}: fragments that are no pixel data")
        if tag in attributes.PIXELS and outside:
            if plan.subject is not None:
                raise DataSetError(f"{place(tag, event.start)}: pixel data a second time")
            plan.subject = event, level.pixels(event, read, end, source)
        elif kind is Kind.FRAGMENTS:
            if len(plan.icons) == _MAX_ICONS:
                raise DataSetError(f"more than {_MAX_ICONS} compressed images inside sequences")
            plan.icons.append((event, level.pixels(event, read, end, source), level))
        elif kind is Kind.ELEMENT:
            level.take(event, window)
            if outside and tag in derived.TAGS and event.length <= _MAX_TEXT:
                level.starts[tag] = event.start
                level.values[tag] = window.read(event.value_start, event.length)
        elif outside and tag in derived.TAGS:
            level.values[tag] = b""  # a sequence that is there
    return plan


def _decode(plan: _Plan, compressed: list[_Compressed], read: Read) -> Iterator[bytes]:
    """Each of them becomes uncompressed; b"" after each frame. Raises what could stand in the way.

    Frames that do not fit into _KEPT are decoded again when it is their turn: their lengths are known now, so nothing
    has to wait on a disk.
    """
    room = _KEPT
    for event, pixels, level in compressed:
        image = pixels.image.decoded(pixels.syntax)
        if image.native_size > MAX_NATIVE:
            raise DataSetError(f"{image.native_size} bytes of pixels are too many for an uncompressed transfer syntax")
        if image.allocated == 1 and image.frames > 1 and image.frame_bits % 8:
            raise UnsupportedTransferSyntax("frames of single bits that do not fill their bytes are not joined here")
        _all_there(pixels)
        kept = image.native_size <= room or (len(pixels) == 1 and level is plan.top)
        room -= image.native_size if kept else 0
        frames = []
        for number in range(len(pixels)):
            frame = plan.frame(pixels, read, number)
            if kept:
                frames.append(frame)
            yield b""
        vr = event.vr if image.floating else "OW" if image.allocated > 8 else "OB"
        plan.made[event.start] = Pixels(vr, image.native_size, _pieces(plan, pixels, read, frames))
        _describe(plan, level, image, outside=level is plan.top)


def _pieces(plan: _Plan, pixels: PixelData, read: Read, frames: list[bytes]) -> Iterator[bytes]:
    """All frames one after the other: those that were kept, or decoded again."""
    for number in range(len(pixels)):
        frame = frames[number] if frames else plan.frame(pixels, read, number)
        for at in range(0, len(frame), CHUNK):
            yield frame[at : at + CHUNK]


def _encode(plan: _Plan, read: Read, target: Syntax, quality: int | None, key: bytes, spool: Spool) -> Iterator[bytes]:
    """The pixel data of the data set itself is encoded, icons are decoded; b"" after each frame."""
    if plan.subject is None or plan.subject[0].tag != attributes.PIXEL_DATA:
        # "This Transfer Syntax shall only be used when Pixel Data (7FE0,0010) is present in the top level" (A.4)
        raise UnsupportedTransferSyntax(f"{target.name} is for Pixel Data (7FE0,0010), which this object has not")
    event, pixels = plan.subject
    decoded = pixels.image.decoded(pixels.syntax)
    stored = replace(
        decoded,
        photometric=encode.photometric(decoded, target, quality),
        planar=target.uid == _RLE and decoded.samples == 3,
    )
    if decoded.native_size > MAX_DECODED:
        raise DataSetError(f"{decoded.native_size} bytes of pixels are too many to be encoded again")
    _all_there(pixels)
    yield from _decode(plan, plan.icons, read)
    for number in range(len(pixels)):
        spool.add(encode_frame(plan.frame(pixels, read, number), decoded, target, quality))
        yield b""
    plan.made[event.start] = Pixels("OB", None, encapsulate.fragments(spool))
    _describe(plan, plan.top, stored, outside=True)
    if quality is not None:
        ratio = decoded.native_size / max(1, spool.size)
        for added in derived.additions(plan.top.values, target, quality, ratio, key):
            plan.put(added)
    for added in encapsulate.extended(spool.lengths):
        plan.put(added)


def _all_there(pixels: PixelData) -> None:
    if len(pixels) != pixels.image.frames:
        raise DataSetError(f"{pixels.image.frames} frames are announced, {len(pixels)} are there")


def _describe(plan: _Plan, level: Level, image: Image, *, outside: bool) -> None:
    """Photometric Interpretation and Planar Configuration say how the pixels lie now; tables of offsets go."""
    for tag in ENCAPSULATED_ONLY & level.starts.keys():
        plan.values[level.starts[tag]] = None
    text = image.photometric.encode("ascii", "replace")
    new = {attributes.PHOTOMETRIC_INTERPRETATION: ("CS", text + b" " * (len(text) & 1))}
    if image.samples > 1:
        new[attributes.PLANAR_CONFIGURATION] = ("US", b"\1\0" if image.planar else b"\0\0")
    for tag, (vr, value) in new.items():
        if tag in level.starts:
            if level.values.get(tag) != value:
                plan.values[level.starts[tag]] = value
        elif outside:
            plan.put(Addition(tag, vr, value))
