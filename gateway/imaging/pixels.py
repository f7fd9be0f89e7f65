"""The frames of a stored object: located once, then read one at a time, as stored or decoded.

Codecs are in `decode.py` and `encode.py`, the rest of the data set in `transcode.py`. Blocking.
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
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging import image as attributes
from gateway.imaging import layout
from gateway.imaging.decode import decode_frame
from gateway.imaging.encode import encode_frame
from gateway.imaging.frames import Frames, locate
from gateway.imaging.image import Image
from gateway.imaging.jpegxl import inner_jpeg

INFLATE_LIMIT: Final = 6 << 30
"""Bytes to which a deflated data set may inflate: the longest possible value, and a header before it."""
VIDEO: Final = frozenset(uid for uid in uids.TRANSFER_SYNTAXES if uid.startswith("1.2.840.10008.1.2.4.10"))
"""MPEG2, H.264 and HEVC: one stream, returned as if it were one frame, and never decoded."""
_EXTENDED_OFFSETS: Final = 0x7FE00001
ENCAPSULATED_ONLY: Final = frozenset((_EXTENDED_OFFSETS, 0x7FE00002, 0x7FE00003))
"""Extended Offset Table, its lengths, and the total length of the encapsulated value."""
_MAX_TABLE_BYTES: Final = 8 << 20
_MAX_ATTRIBUTE_BYTES: Final = 64
_NATIVE: Final = frozenset((uids.IMPLICIT_VR_LITTLE_ENDIAN.uid, uids.EXPLICIT_VR_LITTLE_ENDIAN.uid))


RECOMPRESSED_JPEG: Final = ("1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.50")
"""JPEG XL JPEG Recompression, and the syntax that its frames had before: restored without decoding."""


@dataclass(frozen=True, slots=True)
class PixelData:
    """The places of the frames of one object's pixel data. Holds no pixels, so it can be cached by storage key.

    `read` reads the stored object, `number` counts from 0. Methods raise DataSetError for a frame that is missing,
    broken or truncated.
    """

    image: Image
    syntax: Syntax
    """The syntax of the frames: the object's, but Explicit VR Little Endian for uncompressed frames among others."""
    _count: int
    _start: int = 0
    """Offset of a value that is not fragments; in the inflated data set if it is deflated."""
    _bits: int = 0
    """Bits of one frame in the value."""
    _word: int = 1
    """Bytes of a big-endian word."""
    _frames: Frames | None = None
    _deflated: tuple[int, int] = (0, 0)
    """Start and end of the deflated data set."""

    def __len__(self) -> int:
        """The number of frames present; 1 for video."""
        return self._count

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding a frame takes, about: the frame, its stream, and 32-bit integers in some decoders."""
        return self.image.frame_size * (4 if self._frames is not None else 2)

    def stored(self, read: Read, number: int) -> bytes:
        """The frame as stored: the stream of its fragments, or its uncompressed bytes in little endian.

        Single bits are shifted to begin with a byte.
        """
        if not 0 <= number < self._count:
            raise DataSetError(f"there is no frame {number + 1} among {self._count}")
        if self._frames is not None:
            return self._frames.read(read, number)
        if self.syntax.deflated:
            read = Inflater(read, *self._deflated, INFLATE_LIMIT)
        return layout.cut(self._value(read), self._bits, number)

    def pieces(self, number: int) -> list[tuple[int, int]]:
        """Offset and length of each fragment of a frame; an empty list if the frames are no fragments."""
        return [] if self._frames is None else self._frames.pieces(number)

    def end(self, word: int) -> int:
        """Offset behind the last frame of a value that is no fragments; padding follows.

        `word` is the size of a big-endian word; the last word with any pixels counts whole.
        """
        return self._start + -(-self._bits * self._count // 8 // word) * word

    def stream(self) -> list[tuple[int, int]]:
        """Offset and length of each fragment, in order: joined, the stream of a video. Empty without fragments."""
        return [each for number in range(self._count) for each in self.pieces(number)]

    def native(self, read: Read, number: int) -> bytes:
        """The decoded frame: `image.frame_size` bytes, little endian, colour by pixel.

        In the colours of `image.decoded_photometric(syntax)`.
        """
        data = self.stored(read, number)
        if self._frames is None:
            return layout.by_pixel(data, self.image, self._bits)
        return decode_frame(data, self.syntax, self.image)

    def bands(self, read: Read, number: int, rows: int) -> Iterator[bytes]:
        """The frame as in `native`, in pieces of `rows` rows if it can be read directly, otherwise in one."""
        image = self.image
        plain = image.samples_per_pixel == 1 and image.bits_allocated > 1
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
        if (self.syntax.uid, target_uid) == RECOMPRESSED_JPEG:
            return inner_jpeg(self.stored(read, number))
        decoded = self.image.decoded(self.syntax)
        return encode_frame(self.native(read, number), decoded, transfer_syntax(target_uid))

    def _value(self, read: Read) -> Callable[[int, int], bytes]:
        """A reader of the uncompressed value, converted to little endian."""
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
class PixelLevel:
    """The attributes of pixels in the data set itself or in one item of a sequence, collected during a walk."""

    values: dict[int, bytes] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)

    def take(self, event: Event, window: Window) -> None:
        """Store the value of an element that describes pixels, in little endian."""
        if event.tag not in attributes.TAGS and event.tag not in ENCAPSULATED_ONLY:
            return
        self.starts[event.tag] = event.start
        if event.length <= (_MAX_TABLE_BYTES if event.tag == _EXTENDED_OFFSETS else _MAX_ATTRIBUTE_BYTES):
            value = window.read(event.value_start, event.length)
            word = recode.WORD_SIZES.get(event.vr, 1) if event.syntax.big_endian else 1
            self.values[event.tag] = recode.swapped(value, word) if word > 1 else value

    def picked(self, elements: Mapping[int, Element]) -> None:
        """Store the values of picked elements that describe pixels, in little endian."""
        for tag in attributes.TAGS & elements.keys():
            element = elements[tag]
            word = recode.WORD_SIZES.get(element.vr, 1) if element.syntax.big_endian else 1
            self.values[tag] = recode.swapped(element.value, word) if word > 1 else element.value

    def pixels(self, event: Event, read: Read, end: int | None, syntax: Syntax) -> PixelData:
        """Locate the frames in `event`, the pixel data of this level. `read` and `end` are those of the walk."""
        image = attributes.image(self.values, event.tag)
        if event.kind is Kind.FRAGMENTS:
            if not syntax.encapsulated or image.floating:
                raise DataSetError(f"pixel data in fragments, which {syntax.name} does not have (PS3.5 A.4)")
            assert end is not None
            expected = 1 if syntax.uid in VIDEO else image.frames
            extended = self.values.get(_EXTENDED_OFFSETS, b"")
            frames = locate(read, event.value_start, end, syntax, expected, extended)
            return PixelData(image, syntax, len(frames), _frames=frames)
        if syntax.encapsulated and not image.floating:
            # Most often a stream without fragments. DCMTK and pydicom do not decode it either.
            raise UnsupportedTransferSyntax(
                f"pixel data of defined length, which {syntax.name} does not have (PS3.5 A.4), cannot be decoded"
            )
        if syntax.encapsulated:
            # Floats stay uncompressed in such a data set.
            syntax = uids.EXPLICIT_VR_LITTLE_ENDIAN
        length = event.length if end is None else min(event.length, end - event.value_start)
        bits = layout.stored_bits(image, length)
        count = min(image.frames, length * 8 // bits)
        if count == 0:
            raise DataSetError(f"{length} bytes of pixel data, where a frame has {(bits + 7) // 8}")
        word = recode.WORD_SIZES.get(event.vr, 1) if event.syntax.big_endian else 1
        return PixelData(image, syntax, count, event.value_start, bits, word)


def locate_pixels(read: Read, start: int, end: int, transfer_syntax_uid: str) -> PixelData | None:
    """The pixel data of the data set from `start` to `end`; None if it has none.

    Of an uncompressed value only the header before it is read, of fragments the header of each too. Raises:
    DataSetError if it contradicts the attributes; UnsupportedTransferSyntax for an unknown syntax.
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
    """Finds pixel data among the elements of a data set that the caller walks for other purposes too.

    Call it with each element and fragments of the data set itself. Raises as `locate_pixels`.
    """

    def __init__(self, read: Read, start: int, end: int, transfer_syntax_uid: str) -> None:
        self.syntax = transfer_syntax(transfer_syntax_uid)
        self.found: PixelData | None = None
        self._read = read
        self._deflated = (start, end) if self.syntax.deflated else (0, 0)
        self._level = PixelLevel()

    def resume(self, elements: Mapping[int, Element], at: int, end: int) -> None:
        """Continue at `at`, after elements that have been picked, up to the pixels. Not for deflated data sets."""
        self._level.picked(elements)
        window = Window(self._read, at, end)
        for event in walk(window, at, self.syntax):
            if event.kind is Kind.SEQUENCE or self(event, window):
                return

    def __call__(self, event: Event, window: Window) -> bool:
        """Process an event. Whether it is the pixel data: then `found` is set."""
        if event.tag not in attributes.PIXELS:
            self._level.take(event, window)
            return False
        pixels = self._level.pixels(event, self._read, window.end, self.syntax)
        self.found = replace(pixels, _deflated=self._deflated)
        return True
