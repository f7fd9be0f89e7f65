"""Picture files that people have (PNG, JPEG, PAM) as pixels of DICOM: grey or RGB, of 8 or 16 bits, without alpha.

What a file announces is checked before anything is decoded: a file of a few bytes may announce gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import DataSetError
from gateway.imaging.codestream import jpeg_segments, parse_jpeg

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
PAM: Final = "image/x-portable-arbitrarymap"

MAX_SIDE: Final = 0xFFFF
"""Rows or columns, which are US (PS3.3 C.7.6.3)."""
MAX_DECODED_BYTES: Final = 512 << 20
"""Bytes of a decoded picture, with the alpha that is dropped."""
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD: Final = 8 + 8 + 13
_PNG_SAMPLES: Final = {0: 2, 2: 4, 3: 4, 4: 2, 6: 4}
"""Samples of a decoded pixel at most, by colour type: a transparent colour becomes alpha."""
_PAM_FIELD: Final = re.compile(rb"(?:#[^\n]*|([A-Z]+)[ \t]+([^\n]*?))[ \t\r]*\n")
_PAM_END: Final = re.compile(rb"ENDHDR[ \t\r]*\n")
_MAX_PAM_LINES: Final = 100
_BASELINE: Final = 0xC0
_FRAMES: Final = range(0xC0, 0xCF)


@dataclass(frozen=True, slots=True)
class Announced:
    """A picture as its file describes it, before it is decoded."""

    rows: int
    columns: int
    decoded_bytes: int
    """Bytes of memory that the decoded picture takes at most."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The pixels of a picture: samples of one pixel side by side, little endian, unsigned."""

    rows: int
    columns: int
    samples_per_pixel: int
    """1 or 3."""
    bits_allocated: int
    """8 or 16, all of them in use."""
    pixels: bytes


def announced(media_type: str, data: bytes) -> Announced:
    """The size that a picture file announces. Raises: DataSetError where it is no such file, or too large."""
    found = _HEADS[media_type](data)
    if not (0 < found.rows <= MAX_SIDE and 0 < found.columns <= MAX_SIDE):
        raise DataSetError(f"a picture of {found.columns} by {found.rows} pixels; a side has 1 to {MAX_SIDE}")
    if found.decoded_bytes > MAX_DECODED_BYTES:
        raise DataSetError(
            f"a picture of {found.columns} by {found.rows} pixels takes {found.decoded_bytes} bytes, more than "
            f"{MAX_DECODED_BYTES}"
        )
    return found


def decode(media_type: str, data: bytes) -> Picture:
    """The pixels of a picture file. Raises: DataSetError where it cannot be decoded, or `announced` refuses it."""
    size = announced(media_type, data)
    try:
        pixels = _DECODERS[media_type](data)
    except DataSetError:
        raise
    except Exception as error:  # each codec has errors of its own
        raise DataSetError(f"the picture cannot be decoded: {error}") from None
    return _picture(pixels, size)


def is_baseline_jpeg(data: bytes) -> bool:
    """Whether a JPEG stream is of the baseline process, whose transfer syntax every system reads (PS3.5 §8.2.1)."""
    return next((each.marker for each in jpeg_segments(data) if each.marker in _FRAMES), 0) == _BASELINE


def jpeg_samples(data: bytes) -> int:
    """Samples of a pixel of a JPEG stream: 1 or 3. Raises: DataSetError for others, and for more than 8 bits."""
    stream = parse_jpeg(data)
    if stream.samples not in (1, 3) or stream.precision != 8:
        raise DataSetError(
            f"a JPEG picture of {stream.samples} samples of {stream.precision} bits; grey and colours of 8 are taken"
        )
    return stream.samples


def _picture(pixels: Array, size: Announced) -> Picture:
    import numpy as np

    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    rows, columns, samples = pixels.shape
    if (rows, columns) != (size.rows, size.columns) or samples > 4 or pixels.dtype.kind != "u":
        raise DataSetError("the picture is not what its file announces")
    kept = 1 if samples < 3 else 3
    bits = 8 * pixels.dtype.itemsize
    little = np.ascontiguousarray(pixels[..., :kept]).astype(pixels.dtype.newbyteorder("<"), copy=False)
    return Picture(rows, columns, kept, bits, little.tobytes())


def _png_head(data: bytes) -> Announced:
    if not data.startswith(_PNG_SIGNATURE) or len(data) < _PNG_HEAD or data[12:16] != b"IHDR":
        raise DataSetError("not a PNG file")
    columns, rows = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    samples = _PNG_SAMPLES.get(data[25])
    if samples is None:
        raise DataSetError(f"broken PNG file: there is no colour type {data[25]}")
    return Announced(rows, columns, rows * columns * samples * (2 if data[24] == 16 else 1))


def _png(data: bytes) -> Array:
    import imagecodecs

    # Palettes, single bits and transparent colours are expanded; Pillow would cut 16 bits of a colour down to 8.
    decoded: Array = imagecodecs.png_decode(data)
    return decoded


def _jpeg_head(data: bytes) -> Announced:
    stream = parse_jpeg(data)
    return Announced(stream.rows, stream.columns, stream.rows * stream.columns * jpeg_samples(data))


def _jpeg(data: bytes) -> Array:
    import imagecodecs

    stream = parse_jpeg(data)
    decoded: Array
    if stream.samples == 1:
        decoded = imagecodecs.jpeg8_decode(data[: stream.length])
    else:
        # Three components are YCbCr unless the stream says RGB (JFIF; Adobe's marker).
        space = "RGB" if stream.is_rgb else "YCBCR"
        decoded = imagecodecs.jpeg8_decode(data[: stream.length], colorspace=space, outcolorspace="RGB")
    return decoded


@dataclass(frozen=True, slots=True)
class _PamHead:
    rows: int
    columns: int
    depth: int
    greatest: int
    end: int
    """Offset of the first pixel."""


def _parse_pam(data: bytes) -> _PamHead:
    """The header of a portable arbitrary map. Raises: DataSetError."""
    at = 3
    fields: dict[str, int] = {}
    if data.startswith(b"P7\n"):
        for _ in range(_MAX_PAM_LINES):
            if end := _PAM_END.match(data, at):
                try:
                    head = _PamHead(fields["HEIGHT"], fields["WIDTH"], fields["DEPTH"], fields["MAXVAL"], end.end())
                except KeyError as error:
                    raise DataSetError(f"broken PAM file: no {error.args[0]}") from None
                if not 1 <= head.depth <= 4 or not 1 <= head.greatest <= 0xFFFF:
                    break
                return head
            field = _PAM_FIELD.match(data, at, at + 1000)
            if field is None:
                break
            if field[1] is not None and field[1] != b"TUPLTYPE":
                if not field[2].isdigit() or len(field[2]) > 9:
                    break
                fields[field[1].decode()] = int(field[2])
            at = field.end()
    raise DataSetError("not a PAM file of grey or colours")


def _pam_head(data: bytes) -> Announced:
    head = _parse_pam(data)
    return Announced(
        head.rows, head.columns, head.rows * head.columns * head.depth * (2 if head.greatest > 0xFF else 1)
    )


def _pam(data: bytes) -> Array:
    import numpy as np

    head = _parse_pam(data)
    kind = ">u2" if head.greatest > 0xFF else "u1"
    count = head.rows * head.columns * head.depth
    if len(data) - head.end < count * np.dtype(kind).itemsize:
        raise DataSetError("the PAM file ends before its last pixel")
    return np.frombuffer(data, kind, count, head.end).reshape(head.rows, head.columns, head.depth)


_HEADS: Final[Mapping[str, Callable[[bytes], Announced]]] = {PNG: _png_head, JPEG: _jpeg_head, PAM: _pam_head}
_DECODERS: Final[Mapping[str, Callable[[bytes], Array]]] = {PNG: _png, JPEG: _jpeg, PAM: _pam}
READABLE: Final = frozenset(_DECODERS)
"""Media types of picture files that can be read."""
