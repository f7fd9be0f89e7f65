"""A data set with its compressed pixel data decoded: uncompressed, in Explicit or Implicit VR Little Endian.

Frame by frame, in memory that one frame bounds. What says how the pixels lie is corrected; everything else stays.
Blocking and long: for a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.dicom import recode
from gateway.dicom.source import CHUNK, Read, Window
from gateway.dicom.uids import Syntax, transfer_syntax
from gateway.dicom.walk import Event, Kind, walk
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging import image as attributes
from gateway.imaging.decode import DECODABLE, decode_frame
from gateway.imaging.frames import Frames, locate
from gateway.imaging.image import MAX_NATIVE, Image

SOURCES = recode.SOURCES | DECODABLE
"""Transfer syntaxes that can be made into those of `recode.TARGETS`."""

_EXTENDED_OFFSETS = 0x7FE00001
_ENCAPSULATED_ONLY = frozenset((_EXTENDED_OFFSETS, 0x7FE00002, 0x7FE00003))
"""Extended Offset Table, its lengths, and the total length of the encapsulated value."""
_MAX_TABLE = 8 << 20


@dataclass(slots=True)
class _Level:
    """The data set itself or one item of a sequence, while it is being walked."""

    values: dict[int, bytes] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Plan:
    values: dict[int, bytes | None] = field(default_factory=dict)
    pixels: dict[int, tuple[Image, Frames]] = field(default_factory=dict)


def to_native(read: Read, start: int, end: int, transfer_syntax_uid: str, target_uid: str) -> Iterator[bytes]:
    """The data set that `read` gives from `start` to `end`, uncompressed, in pieces of 1 MiB at most.

    Before the first piece everything is gone through that could stand in the way of the last one, and b"" is given
    now and then on the way, so that no visit to a thread takes longer than a frame or so: who begins to send can send
    it whole. Raises DataSetError or UnsupportedTransferSyntax until then.
    """
    source = transfer_syntax(transfer_syntax_uid)
    if source.uid not in SOURCES or target_uid not in recode.TARGETS:
        raise UnsupportedTransferSyntax(f"{source.name} cannot be decoded here")
    if not source.encapsulated:
        recode.check(read, start, end, source.uid)
        yield from recode.recode(read, start, end, source.uid, target_uid)
        return
    plan = _plan(read, start, end, source)
    ready: dict[int, bytes] = {}
    for position, (image, frames) in plan.pixels.items():
        for number in range(len(frames)):
            pixels = decode_frame(frames.read(read, number), source, image)
            if len(frames) == 1:
                ready[position] = pixels
            else:
                yield b""

    def pixels_of(event: Event) -> recode.Pixels:
        image, frames = plan.pixels[event.start]
        vr = "OW" if image.allocated > 8 else "OB"
        return recode.Pixels(vr, image.native_size, _pieces(image, frames, ready.pop(event.start, None)))

    def _pieces(image: Image, frames: Frames, only: bytes | None) -> Iterator[bytes]:
        for number in range(len(frames)):
            pixels = only if only is not None else decode_frame(frames.read(read, number), source, image)
            for at in range(0, len(pixels), CHUNK):
                yield pixels[at : at + CHUNK]

    changes = recode.Changes(plan.values, pixels_of)
    yield from recode.recode(read, start, end, source.uid, target_uid, changes)


def _plan(read: Read, start: int, end: int, source: Syntax) -> _Plan:
    """What is to be decoded, icons inside sequences too, and which attributes change with it."""
    plan = _Plan()
    window = Window(read, start, end)
    levels = [_Level()]
    for event in walk(window, start, source):
        level = levels[-1]
        if event.kind is Kind.ELEMENT:
            if event.tag in _ENCAPSULATED_ONLY:
                plan.values[event.start] = None
                if event.tag == _EXTENDED_OFFSETS and event.length <= _MAX_TABLE:
                    level.values[event.tag] = window.read(event.value_start, event.length)
            elif event.tag in attributes.TAGS and event.length <= 64:
                level.values[event.tag] = window.read(event.value_start, event.length)
                level.starts[event.tag] = event.start
        elif event.kind is Kind.ITEM:
            levels.append(_Level())
        elif event.kind is Kind.ITEM_END:
            levels.pop()
        elif event.kind is Kind.FRAGMENTS:
            _decode(plan, level, event, read, end, source)
    return plan


def _decode(plan: _Plan, level: _Level, event: Event, read: Read, end: int, source: Syntax) -> None:
    image = attributes.image(level.values)
    if image.native_size > MAX_NATIVE:
        raise DataSetError(f"{image.native_size} bytes of pixels are too many for an uncompressed transfer syntax")
    extended = level.values.get(_EXTENDED_OFFSETS, b"")
    plan.pixels[event.start] = image, locate(read, event.value_start, end, source, image.frames, extended)
    photometric = image.decoded_photometric(source)
    if photometric != image.photometric and attributes.PHOTOMETRIC_INTERPRETATION in level.starts:
        text = photometric.encode("ascii")
        plan.values[level.starts[attributes.PHOTOMETRIC_INTERPRETATION]] = text + b" " * (len(text) & 1)
    if image.samples > 1 and attributes.PLANAR_CONFIGURATION in level.starts:
        plan.values[level.starts[attributes.PLANAR_CONFIGURATION]] = b"\0\0"
