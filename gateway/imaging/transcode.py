"""Transcoding a whole data set to another transfer syntax: its pixels decoded and encoded, the rest unchanged.

Frame by frame, in memory bounded by one frame. Attributes of the pixel layout are corrected; an icon inside a sequence
becomes uncompressed, which any syntax allows (PS3.5 A.4). Blocking and long: for a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from gateway.dicom import recode, uids
from gateway.dicom.recode import Addition, ElementChanges, Pixels
from gateway.dicom.source import Inflated, Read, Window
from gateway.dicom.uids import Syntax, transfer_syntax
from gateway.dicom.walk import Event, Kind, place, walk
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging import derived, encapsulate, encode
from gateway.imaging import image as attributes
from gateway.imaging.decode import DECODABLE
from gateway.imaging.encode import LOSSLESS, encode_frame
from gateway.imaging.image import MAX_NATIVE_BYTES, Image
from gateway.imaging.pixels import ENCAPSULATED_ONLY, INFLATE_LIMIT, PixelData, PixelLevel
from gateway.imaging.spool import Spool
from gateway.imaging.value import MAX_RETAINED_BYTES, DecodedValue
from gateway.imaging.workspace import ANY, Workspace

SOURCES: Final = recode.SOURCES | DECODABLE
"""Transfer syntaxes that can be decoded."""
TARGETS: Final = recode.SOURCES | LOSSLESS
"""Transfer syntaxes that can be encoded without loss."""
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
"""TARGETS in order of preference: first syntaxes that any image can have, then the cheapest to encode. Lossless forms
of syntaxes known for lossy ones come last, in no order."""

MAX_DECODED_BYTES: Final = 64 << 30
"""Bytes of pixels of one object that are decoded and encoded again."""
_MAX_TEXT_BYTES: Final = 4096
_MAX_ICONS: Final = 1024
_INSERTABLE: Final = sorted(
    derived.TAGS | ENCAPSULATED_ONLY | {attributes.PHOTOMETRIC_INTERPRETATION, attributes.PLANAR_CONFIGURATION}
)
_RLE: Final = "1.2.840.10008.1.2.5"

Alter = Callable[[bytes, Image], bytes]
"""ElementChanges a decoded frame of the given Image; the layout stays."""


def forms(stored: str, accepted: Collection[str]) -> list[str]:
    """The transfer syntaxes of `accepted` that an object in `stored` can have without loss, best first.

    The stored one is first if it is accepted. A form that suits most images may not suit this one: `transcode` then
    raises UnsupportedTransferSyntax, and the next may succeed.
    """
    candidates = [stored] if stored in accepted else []
    if stored in SOURCES:
        candidates += [uid for uid in PREFERRED if uid in accepted and uid != stored]
        candidates += sorted(uid for uid in TARGETS.intersection(accepted) if uid not in PREFERRED and uid != stored)
    return candidates


def loses(target: str) -> bool:
    """Whether pixels can be encoded with loss in a transfer syntax."""
    encoder = encode.ENCODERS.get(target)
    return encoder is not None and encoder.with_loss is not None


def transcode(
    read: Read,
    start: int,
    end: int,
    source_uid: str,
    target_uid: str,
    *,
    quality: int | None = None,
    key: bytes | None = b"",
    workspace: Workspace = ANY,
    alter: Alter | None = None,
) -> Iterator[bytes]:
    """Transcode the data set that `read` reads from `start` to `end`, in pieces of at most 1 MiB.

    Everything that could fail is done before the first piece, with b"" yielded now and then on the way, so that no
    visit to a thread takes longer than a frame or so: a transfer that begins can be completed.

    With a `quality`, 1 to 100, pixels may be lost, and the result is another image: its SOP Instance UID is
    `derived.sop_instance_uid` of the original's and of `key`, unless that is None. Compressed frames are spooled to a
    file of the `workspace`, and the memory that a frame takes is reserved there.
    With `alter` each frame is changed by it, in the same transfer syntax too; icons stay.

    Raises: DataSetError, UnsupportedTransferSyntax or StorageError, all before the first piece.
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
    with Spool(workspace.folder) as spool:
        plan = _plan(read, start, end, source)
        plan.alter, plan.workspace = alter, workspace
        if target.encapsulated:
            yield from _encode(plan, read, target, quality, key, spool)
        else:
            compressed = list(plan.icons)
            if plan.subject is not None and (plan.subject[0].kind is Kind.FRAGMENTS or alter is not None):
                compressed.append((*plan.subject, plan.top))
            yield from _decode(plan, compressed, read)
        changes = ElementChanges(plan.values, plan.made, plan.before)
        yield from recode.recode(read, start, end, source.uid, target.uid, changes)


_Compressed = tuple[Event, PixelData, PixelLevel]


@dataclass(slots=True)
class _Plan:
    """The places of elements in the data set, and their changes."""

    top: PixelLevel = field(default_factory=PixelLevel)
    subject: tuple[Event, PixelData] | None = None
    """The pixel data of the data set itself."""
    icons: list[_Compressed] = field(default_factory=list)
    """Compressed pixel data inside sequences."""
    places: dict[int, int] = field(default_factory=dict)
    """By tag of an element that may be inserted: offset of the element before which it belongs."""
    values: dict[int, bytes | None] = field(default_factory=dict)
    made: dict[int, Pixels] = field(default_factory=dict)
    before: dict[int, list[Addition]] = field(default_factory=dict)
    alter: Alter | None = None
    workspace: Workspace = ANY

    def frame(self, pixels: PixelData, read: Read, number: int) -> bytes:
        """Decode a frame, and alter it, in memory that is reserved meanwhile."""
        with self.workspace.reserved(pixels.decoding_bytes):
            return self._frame(pixels, read, number)

    def encoded(self, pixels: PixelData, read: Read, number: int, target: Syntax, quality: int | None) -> bytes:
        """Decode a frame and encode it for `target`, in memory that is reserved meanwhile."""
        with self.workspace.reserved(pixels.decoding_bytes + pixels.image.frame_size):
            decoded = pixels.image.decoded(pixels.syntax)
            return encode_frame(self._frame(pixels, read, number), decoded, target, quality)

    def _frame(self, pixels: PixelData, read: Read, number: int) -> bytes:
        """A decoded frame, changed by `alter` if it is of the data set itself."""
        native = pixels.native(read, number)
        if self.alter is None or self.subject is None or pixels is not self.subject[1]:
            return native
        return self.alter(native, pixels.image.decoded(pixels.syntax))

    def put(self, added: Addition) -> None:
        """Set an element of the data set itself, replacing one or inserting it."""
        before = self.before.setdefault(self.places[added.tag], [])
        before.append(added)
        before.sort(key=lambda each: each.tag)
        if added.tag in self.top.starts:
            self.values[self.top.starts[added.tag]] = None


def _plan(read: Read, start: int, end: int, source: Syntax) -> _Plan:
    """Find pixel data to decode, and the places of elements that change with it."""
    plan = _Plan()
    window = Window(read, start, end)
    levels = [plan.top]
    unplaced = _INSERTABLE
    for event in walk(window, start, source):
        kind, tag, level = event.kind, event.tag, levels[-1]
        outside = len(levels) == 1
        if kind is Kind.ITEM:
            levels.append(PixelLevel())
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
            if outside and tag in derived.TAGS and event.length <= _MAX_TEXT_BYTES:
                level.starts[tag] = event.start
                level.values[tag] = window.read(event.value_start, event.length)
        elif outside and tag in derived.TAGS:
            level.values[tag] = b""  # The sequence is present.
    return plan


def _decode(plan: _Plan, compressed: list[_Compressed], read: Read) -> Iterator[bytes]:
    """Decode each to an uncompressed value; yields b"" after each frame. Raises every error that could come later."""
    room = MAX_RETAINED_BYTES
    for event, pixels, level in compressed:
        image = pixels.image.decoded(pixels.syntax)
        if image.native_size > MAX_NATIVE_BYTES:
            raise DataSetError(f"{image.native_size} bytes of pixels are too many for an uncompressed transfer syntax")
        alone = level is plan.top and len(pixels) == 1  # A single frame is in memory anyway.
        most = max(room, image.frame_size) if alone else room
        value = DecodedValue(image, len(pixels), partial(plan.frame, pixels, read), most)
        room -= value.length if value.retained else 0
        for _ in value.decode_all():
            yield b""
        vr = event.vr if image.floating else "OW" if image.bits_allocated > 8 else "OB"
        plan.made[event.start] = Pixels(vr, value.length, value.pieces())
        _describe(plan, level, image, outside=level is plan.top)


def _encode(
    plan: _Plan, read: Read, target: Syntax, quality: int | None, key: bytes | None, spool: Spool
) -> Iterator[bytes]:
    """Encode the pixel data of the data set itself, and decode icons; yields b"" after each frame."""
    if plan.subject is None or plan.subject[0].tag != attributes.PIXEL_DATA:
        # "This Transfer Syntax shall only be used when Pixel Data (7FE0,0010) is present in the top level" (A.4)
        raise UnsupportedTransferSyntax(f"{target.name} is for Pixel Data (7FE0,0010), which this object has not")
    event, pixels = plan.subject
    decoded = pixels.image.decoded(pixels.syntax)
    stored = replace(
        decoded,
        photometric_interpretation=encode.photometric(decoded, target, quality),
        planar=target.uid == _RLE and decoded.samples_per_pixel == 3,
    )
    if decoded.native_size > MAX_DECODED_BYTES:
        raise DataSetError(f"{decoded.native_size} bytes of pixels are too many to be encoded again")
    _all_there(pixels)
    yield from _decode(plan, plan.icons, read)
    for number in range(len(pixels)):
        spool.add(plan.encoded(pixels, read, number, target, quality))
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


def _describe(plan: _Plan, level: PixelLevel, image: Image, *, outside: bool) -> None:
    """Update Photometric Interpretation and Planar Configuration to the new layout, and drop offset tables."""
    for tag in ENCAPSULATED_ONLY & level.starts.keys():
        plan.values[level.starts[tag]] = None
    text = image.photometric_interpretation.encode("ascii", "replace")
    new = {attributes.PHOTOMETRIC_INTERPRETATION: ("CS", text + b" " * (len(text) & 1))}
    if image.samples_per_pixel > 1:
        new[attributes.PLANAR_CONFIGURATION] = ("US", b"\1\0" if image.planar else b"\0\0")
    for tag, (vr, value) in new.items():
        if tag in level.starts:
            if level.values.get(tag) != value:
                plan.values[level.starts[tag]] = value
        elif outside:
            plan.put(Addition(tag, vr, value))
