"""The frames of a stored object: found once, then read one at a time, as stored or decoded.

Not here: what codecs do (`decode.py`, `encode.py`), nor the rest of the data set (`transcode.py`). Blocking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.dicom import recode, uids
from gateway.dicom.elements import Element
from gateway.dicom.source import Inflater, Read, Window
from gateway.dicom.uids import Syntax, transfer_syntax
from gateway.dicom.walk import Event, Kind, walk
from gateway.errors import DataSetError
from gateway.imaging import image as attributes
from gateway.imaging import layout
from gateway.imaging.decode import decode_frame
from gateway.imaging.encode import encode_frame
from gateway.imaging.frames import Frames, locate
from gateway.imaging.image import Image

INFLATE_LIMIT: Final = 6 << 30
"""Bytes to which a deflated data set may inflate: the longest value that there can be, and a header before it."""
VIDEO: Final = frozenset(uid for uid in uids.TRANSFER_SYNTAXES if uid.startswith("1.2.840.10008.1.2.4.10"))
"""MPEG2, H.264 and HEVC: one stream, which is given as if it were one frame, and never decoded."""
_EXTENDED_OFFSETS: Final = 0x7FE00001
ENCAPSULATED_ONLY: Final = frozenset((_EXTENDED_OFFSETS, 0x7FE00002, 0x7FE00003))
"""Extended Offset Table, its lengths, and the total length of the encapsulated value."""
_MAX_TABLE: Final = 8 << 20
_MAX_ATTRIBUTE: Final = 64
_NATIVE: Final = frozenset((uids.IMPLICIT_VR_LITTLE_ENDIAN.uid, uids.EXPLICIT_VR_LITTLE_ENDIAN.uid))


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the frames of one object's pixel data stand. Holds no pixels, so it can be kept by storage key.

    `read` is of the stored object, `number` from 0. DataSetError where a frame is not there, broken or cut short.
    """

    image: Image
    syntax: Syntax
    """What the frames are in: the object's, but Explicit VR Little Endian for what is not compressed among others."""
    _count: int
    _start: int = 0
    """Of the value, where it is not fragments; in the inflated data set where it is deflated."""
    _bits: int = 0
    """Of one frame in it."""
    _word: int = 1
    """Bytes that big endian turns round together."""
    _frames: Frames | None = None
    _deflated: tuple[int, int] = (0, 0)
    """Where the deflated data set starts and ends."""

    def __len__(self) -> int:
        """Frames that are there; of video one."""
        return self._count

    def stored(self, read: Read, number: int) -> bytes:
        """The frame as it is stored: the stream of its fragments, or its uncompressed bytes in little endian.

        Single bits are moved to begin with a byte.
        """
        if not 0 <= number < self._count:
            raise DataSetError(f"there is no frame {number + 1} among {self._count}")
        if self._frames is not None:
            return self._frames.read(read, number)
        if self.syntax.deflated:
            read = Inflater(read, *self._deflated, INFLATE_LIMIT)
        return layout.cut(self._value(read), self._bits, number)

    def stream(self) -> list[tuple[int, int]]:
        """Offset and length of each fragment, in order: what video is, joined. Empty where there are no fragments."""
        return [] if self._frames is None else [each for n in range(self._count) for each in self._frames.pieces(n)]

    def native(self, read: Read, number: int) -> bytes:
        """The frame decoded: `image.frame_size` bytes, little endian, colour by pixel.

        In the colours of `image.decoded_photometric(syntax)`.
        """
        data = self.stored(read, number)
        if self._frames is None:
            return layout.by_pixel(data, self.image, self._bits)
        return decode_frame(data, self.syntax, self.image)

    def bands(self, read: Read, number: int, rows: int) -> Iterator[bytes]:
        """As `native`, in pieces of `rows` rows where it is read as it lies, otherwise at once."""
        image = self.image
        plain = image.samples == 1 and image.allocated > 1
        if self._frames is not None or self.syntax.deflated or not plain or not 0 <= number < self._count:
            yield self.native(read, number)
            return
        value, size = self._value(read), image.frame_size
        piece = size // image.rows * rows
        for at in range(0, size, piece):
            yield value(size * number + at, min(piece, size - at))

    def encoded(self, read: Read, number: int, target_uid: str) -> bytes:
        """The frame as it would be stored in another transfer syntax, without loss."""
        if target_uid == self.syntax.uid:
            return self.stored(read, number)
        if target_uid in _NATIVE:
            return self.native(read, number)
        decoded = self.image.decoded(self.syntax)
        return encode_frame(self.native(read, number), decoded, transfer_syntax(target_uid))

    def _value(self, read: Read) -> Callable[[int, int], bytes]:
        """Bytes of the uncompressed value, turned to little endian."""
        start, word = self._start, self._word

        def part(at: int, length: int) -> bytes:
            first = at // word * word
            wanted = (at + length + word - 1) // word * word - first
            data = read(start + first, wanted)
            if len(data) < at - first + length:
                raise DataSetError("the pixel data is cut short")
            return recode.swapped(data, word)[at - first : at - first + length] if word > 1 else data

        return part


@dataclass(slots=True)
class Level:
    """The data set itself or one item of a sequence while it is walked: what it says about pixels."""

    values: dict[int, bytes] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)

    def take(self, event: Event, window: Window) -> None:
        """Keep the value of an element that has to do with pixels, in little endian."""
        if event.tag not in attributes.TAGS and event.tag not in ENCAPSULATED_ONLY:
            return
        self.starts[event.tag] = event.start
        if event.length <= (_MAX_TABLE if event.tag == _EXTENDED_OFFSETS else _MAX_ATTRIBUTE):
            value = window.read(event.value_start, event.length)
            word = recode.WORD_SIZES.get(event.vr, 1) if event.syntax.big_endian else 1
            self.values[event.tag] = recode.swapped(value, word) if word > 1 else value

    def picked(self, elements: Mapping[int, Element]) -> None:
        """The same for elements that are read already."""
        for tag in attributes.TAGS & elements.keys():
            element = elements[tag]
            word = recode.WORD_SIZES.get(element.vr, 1) if element.syntax.big_endian else 1
            self.values[tag] = recode.swapped(element.value, word) if word > 1 else element.value

    def pixels(self, event: Event, read: Read, end: int | None, syntax: Syntax) -> PixelData:
        """What `event`, the pixel data of this level, holds. `read` and `end` are of what is walked."""
        image = attributes.image(self.values, event.tag)
        if event.kind is Kind.FRAGMENTS:
            if not syntax.encapsulated or image.floating:
                raise DataSetError(f"pixel data in fragments, which {syntax.name} does not have (PS3.5 A.4)")
            assert end is not None
            expected = 1 if syntax.uid in VIDEO else image.frames
            extended = self.values.get(_EXTENDED_OFFSETS, b"")
            frames = locate(read, event.value_start, end, syntax, expected, extended)
            return PixelData(image, syntax, len(frames), _frames=frames)
        if syntax.encapsulated:
            # An icon or floats, which may stay uncompressed in such a data set (PS3.5 A.4), or a mistaken writer.
            syntax = uids.EXPLICIT_VR_LITTLE_ENDIAN
        length = event.length if end is None else min(event.length, end - event.value_start)
        bits = layout.stored_bits(image, length)
        count = min(image.frames, length * 8 // bits)
        if count == 0:
            raise DataSetError(f"{length} bytes of pixel data, where a frame has {(bits + 7) // 8}")
        word = recode.WORD_SIZES.get(event.vr, 1) if event.syntax.big_endian else 1
        return PixelData(image, syntax, count, event.value_start, bits, word)


def locate_pixels(read: Read, start: int, end: int, transfer_syntax_uid: str) -> PixelData | None:
    """The pixel data of the data set from `start` to `end`; None where it has none.

    DataSetError where it cannot be what the attributes say, UnsupportedTransferSyntax for an unknown syntax. Of an
    uncompressed value only the header before it is read, of fragments each one's header too.
    """
    finder = Finder(read, start, end, transfer_syntax_uid)
    syntax = finder.syntax
    window = Window(read, start, end)
    if syntax.deflated:
        window = Window(Inflater(read, start, end, INFLATE_LIMIT), 0, None)
    depth = 0
    for event in walk(window, 0 if syntax.deflated else start, syntax):
        if event.kind in (Kind.SEQUENCE, Kind.ITEM):
            depth += 1
        elif event.kind in (Kind.SEQUENCE_END, Kind.ITEM_END):
            depth -= 1
        elif depth == 0 and finder(event, window):
            return finder.found
    return None


class Finder:
    """Finds pixel data among the elements of a data set that somebody walks, whatever else they look for.

    Call it with each element and fragments of the data set itself. Errors as `locate_pixels`.
    """

    def __init__(self, read: Read, start: int, end: int, transfer_syntax_uid: str) -> None:
        self.syntax = transfer_syntax(transfer_syntax_uid)
        self.found: PixelData | None = None
        self._read = read
        self._deflated = (start, end) if self.syntax.deflated else (0, 0)
        self._level = Level()

    def resume(self, elements: Mapping[int, Element], at: int, end: int) -> None:
        """Go on at `at`, after elements that somebody else has picked, to the pixels. Not for deflated data sets."""
        self._level.picked(elements)
        window = Window(self._read, at, end)
        for event in walk(window, at, self.syntax):
            if event.kind is Kind.SEQUENCE or self(event, window):
                return

    def __call__(self, event: Event, window: Window) -> bool:
        """Whether this was it: `found` is set."""
        if event.tag not in attributes.PIXELS:
            self._level.take(event, window)
            return False
        found = self._level.pixels(event, self._read, window.end, self.syntax)
        self.found = replace(found, _deflated=self._deflated)
        return True
