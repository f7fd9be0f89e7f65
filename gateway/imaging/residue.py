"""Residue in a stored frame that is no image: comments, application segments, boxes, bytes behind the end of the image.

Found without decoding, and returned as ranges to overwrite in place: no length or offset changes, and the
pixels stay. Data needed for decoding or colour are no residue: JFIF, Adobe's APP14, colour transforms, profiles
without their texts. Not searched: data hidden in entropy-coded data, and video.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gateway.dicom.uids import Syntax
from gateway.errors import DataSetError
from gateway.imaging import icc, jpeg2000, jpegxl, rle
from gateway.imaging.codestream import EOI, jpeg_segments
from gateway.imaging.image import Image


class Blank(NamedTuple):
    """Bytes from `start` to before `stop` to overwrite: with zeros, or with `value`."""

    start: int
    stop: int
    value: bytes = b""


def residue(data: bytes, syntax: Syntax, image: Image) -> list[Blank]:
    """The residue in a frame of a transfer syntax that is decoded here; an empty list for any other.

    Raises: DataSetError if the frame is too broken to be parsed.
    """
    find = _FINDERS.get(syntax.uid)
    if find is None:
        return []
    return [blank for blank in find(data, image) if _changes(blank, data)]


def _changes(blank: Blank, data: bytes) -> bool:
    before = data[blank.start : blank.stop]
    return before != blank.value if blank.value else any(before)


_COM, _JFIF, _APP2, _SPIFF, _ADOBE = 0xFE, 0xE0, 0xE2, 0xE8, 0xEE
_ICC: Final = b"ICC_PROFILE\0"
_SPIFF_HEADER: Final = 30


def _jpeg(data: bytes, image: Image) -> Iterator[Blank]:
    """JPEG and JPEG-LS (ISO 10918-1 B.2.4.5, B.2.4.6; 14495-1 C.2.1)."""
    profile: list[Blank] = []
    for marker, start, stop in jpeg_segments(data):
        if marker == _COM:
            yield Blank(start + 4, stop)
        elif marker == _APP2 and data.startswith(_ICC, start + 4) and stop - start >= 18:
            profile.append(Blank(start + 18, stop))
        elif 0xE0 <= marker <= 0xEF:
            yield Blank(start + 4 + _needed(marker, data[start + 4 : stop]), stop)
        elif marker == EOI:
            yield Blank(stop, len(data))
    yield from _in_pieces(profile, data)


def _needed(marker: int, segment: bytes) -> int:
    """The number of leading bytes of an application segment that decoding or colour needs."""
    if marker == _JFIF and segment.startswith(b"JFIF\0") and len(segment) >= 14:
        return 12  # up to the size of a thumbnail, which is removed with it
    if marker == _ADOBE and segment.startswith(b"Adobe") and len(segment) >= 12:
        return 12
    if marker == _SPIFF and segment.startswith(b"SPIFF\0"):
        return _SPIFF_HEADER
    if marker == _SPIFF and segment.startswith(b"mrfx"):
        return 5  # HP's colour transform, in JPEG-LS
    if marker == _SPIFF and segment.startswith(b"\0\0\0") and len(segment) > 3:
        return 6 if segment[3] == 1 else 4  # an entry of SPIFF's directory, by its number, and its end
    return 0


def _in_pieces(places: list[Blank], data: bytes) -> Iterator[Blank]:
    """An ICC profile in several places of `data`, without its texts."""
    clean = icc.without_words(b"".join(data[start:stop] for start, stop, _ in places))
    at = 0
    for start, stop, _ in places:
        yield Blank(start, stop, clean[at : at + stop - start])
        at += stop - start


_MAX_BOXES: Final = 10_000
_NEEDED_BOXES: Final = frozenset((b"jP  ", b"ftyp", b"ihdr", b"bpcc", b"pclr", b"cmap", b"cdef", b"jp2c"))


def _jpeg2000(data: bytes, image: Image) -> Iterator[Blank]:
    """JPEG 2000 and high-throughput streams (ISO 15444-1 A.9.2), and boxes of a file around them (Annex I)."""
    start = len(data) - len(stream := jpeg2000.bare(data))
    end = 0
    for marker, at, end in jpeg2000.segments(stream):
        if marker == jpeg2000.COMMENT:
            yield Blank(start + at + 4, start + end)
    after = start + end
    if not start:
        yield Blank(after, len(data))
        return
    found = list(boxes(data, 0, len(data)))
    if (b"jp2c", start) not in [(kind, body) for kind, _at, body, _stop in found]:
        raise DataSetError("a JPEG 2000 stream behind what is no file")
    for kind, at, body, stop in found:
        if kind == b"jp2c" and body == start:
            if after > stop:  # The box ends inside the stream, and later boxes would be pixels.
                yield Blank(after, len(data))
                return
            yield Blank(after, stop)
        elif kind == b"jp2h":
            for inner in boxes(data, body, stop):
                yield from _box(data, *inner)
        else:
            yield from _box(data, kind, at, body, stop)


def boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield kind, offset, offset of the content and end of each box (ISO 15444-1 I.4); an invalid box has no kind."""
    at = start
    for _ in range(_MAX_BOXES):
        if at >= stop:
            return
        length, kind, body = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if length == 1:
            length, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        end = at + length if length else stop
        if not body <= end <= stop:
            kind, body, end = b"", at, stop
        yield kind, at, body, end
        at = end
    raise DataSetError(f"more than {_MAX_BOXES} boxes in one file")


def _box(data: bytes, kind: bytes, at: int, body: int, stop: int) -> Iterator[Blank]:
    """Turn a box that no decoder needs into an empty one ("free", ISO 14496-12 8.1.2), of the same length."""
    if kind == b"colr" and data[body : body + 1] == b"\2":
        yield from _in_pieces([Blank(body + 3, stop)], data)
    elif kind not in _NEEDED_BOXES and kind != b"colr":
        yield from _free(kind, at, body, stop)


def _free(kind: bytes, at: int, body: int, stop: int) -> Iterator[Blank]:
    if kind:
        yield Blank(at + 4, at + 8, b"free")
    yield Blank(body, stop)


def _jpeg_xl(data: bytes, image: Image) -> Iterator[Blank]:
    """JPEG XL, bare and in the file format (ISO 18181-2): metadata, and a recompressed JPEG that has residue."""
    jpegxl.parse_jpegxl(data)
    places = [(0, len(data))]
    if data[:2] != jpegxl.SIGNATURE:
        places = []
        for kind, at, body, stop in boxes(data, 0, len(data)):
            if kind in (b"jxlc", b"jxlp"):
                places.append((body + 4 * (kind == b"jxlp"), stop))
            elif kind not in (b"JXL ", b"ftyp", b"jxll", b"jxli") and (kind != b"jbrd" or _has_residue(data, image)):
                yield from _free(kind, at, body, stop)
    remaining = _end(b"".join(data[start:stop] for start, stop in places))
    for start, stop in places:
        yield Blank(min(start + remaining, stop), stop)
        remaining = max(0, remaining - (stop - start))


def _has_residue(data: bytes, image: Image) -> bool:
    """Whether the JPEG to which a recompressed one can be restored has any residue."""
    import imagecodecs

    try:
        jpeg = bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))
    except RuntimeError:
        return True
    return any(_changes(blank, jpeg) for blank in _jpeg(jpeg, image))


def _end(stream: bytes) -> int:
    """Length of a bare JPEG XL stream, found by decoding, since the stream does not mark its end.

    A decoder fails on less than the whole stream: if it fails at two bytes less, nothing follows but padding; otherwise
    the end is found by bisection.
    """
    import imagecodecs

    def suffices(length: int) -> bool:
        try:
            imagecodecs.jpegxl_decode(stream[:length], numthreads=1)
        except RuntimeError:
            return False
        return True

    if not suffices(len(stream)):
        raise DataSetError("broken JPEG XL stream: it cannot be decoded")
    low, high = 0, len(stream)
    if not suffices(high - 2):
        low = high - 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _rle(data: bytes, image: Image) -> Iterator[Blank]:
    """RLE: bytes beside the segments, and behind the plane in each (PS3.5 Annex G)."""
    size = max(1, image.bits_allocated // 8)
    bounds = rle.bounds(data, image.samples_per_pixel * size)
    yield Blank(4 + 4 * len(bounds), rle.HEADER_BYTES)
    yield Blank(rle.HEADER_BYTES, bounds[0][0])
    for start, stop in bounds:
        segment = data[start:stop]
        plane = rle.bits_size(segment, image) if image.bits_allocated == 1 else image.rows * image.columns
        if not rle.is_filled(segment, plane):
            yield Blank(start + rle.used(segment, plane), stop)


def _uncompressed(data: bytes, image: Image) -> Iterator[Blank]:
    yield Blank(image.frame_size, len(data))


def _deflated(data: bytes, image: Image) -> Iterator[Blank]:
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        inflate.decompress(data, image.frame_size + 1)
    except zlib.error as error:
        raise DataSetError(f"a deflated frame that is corrupt: {error}") from None
    if not inflate.eof:
        raise DataSetError(f"a deflated frame of more than {image.frame_size} bytes, or one that is cut short")
    yield Blank(len(data) - len(inflate.unused_data), len(data))


_TABLE: Final[tuple[tuple[Callable[[bytes, Image], Iterator[Blank]], str], ...]] = (
    (_jpeg, "4.50 4.51 4.53 4.55 4.57 4.70 4.80 4.81"),
    (_jpeg2000, "4.90 4.91 4.92 4.93 4.201 4.202 4.203"),
    (_jpeg_xl, "4.110 4.111 4.112"),
    (_rle, "5"),
    (_uncompressed, "1.98"),
    (_deflated, "8.1"),
)
_FINDERS: Final = {f"1.2.840.10008.1.2.{end}": finder for finder, ends in _TABLE for end in ends.split()}
