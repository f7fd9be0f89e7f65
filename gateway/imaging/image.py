"""The Image Pixel attributes (PS3.3 C.7.6.3), of stored and of decoded pixels.

No pixels here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.dicom.uids import Syntax
from gateway.errors import DataSetError

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
PIXEL_REPRESENTATION: Final = 0x00280103
TAGS: Final = frozenset(
    (
        *(SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, NUMBER_OF_FRAMES, ROWS, COLUMNS),
        *(BITS_ALLOCATED, BITS_STORED, PIXEL_REPRESENTATION),
    )
)
"""The attributes of an Image."""

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
PIXELS: Final = frozenset((PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA))
"""The elements that hold pixels. An object has one of them at most (PS3.3 C.7.6.24)."""

MAX_FRAME_BYTES: Final = 1 << 29
"""Bytes of one frame: a colour image of 13 300 by 13 300 pixels."""
MAX_NATIVE_BYTES: Final = 0xFFFFFFFE
"""Bytes of pixel data that is not encapsulated (PS3.5 §7.1.2)."""

_ALLOCATED: Final = {PIXEL_DATA: (1, 8, 16, 32, 64), FLOAT_PIXEL_DATA: (32,), DOUBLE_FLOAT_PIXEL_DATA: (64,)}
_FRAMES: Final = re.compile(r"\+?[0-9]{1,12}")
"""An integer string as allowed for Number of Frames (PS3.5 §6.2, IS); a longer one would be too large for `int`."""
_DCT: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55))
_JPEG_XL: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))


@dataclass(frozen=True, slots=True)
class Image:
    """The attributes that define the layout of pixels."""

    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    bits_allocated: int
    """Bits of one sample: 1, 8, 16, 32 or 64."""
    bits_stored: int
    signed: bool
    frames: int
    """Number of Frames of the data set, which may be wrong."""
    planar: bool = False
    """Whether uncompressed colours are stored plane by plane (Planar Configuration 1)."""
    floating: bool = False
    """Whether samples are IEEE 754 numbers, of Float or Double Float Pixel Data."""

    @property
    def frame_bits(self) -> int:
        return self.rows * self.columns * self.samples_per_pixel * self.bits_allocated

    @property
    def frame_size(self) -> int:
        """Bytes of one decoded frame. With 1 bit allocated 8 pixels a byte, the first in the lowest bit."""
        return (self.frame_bits + 7) // 8

    @property
    def native_size(self) -> int:
        """Bytes of all frames, decoded in one value: frames of single bits follow without a gap (PS3.5 §8.1.1)."""
        return (self.frame_bits * self.frames + 7) // 8

    def decoded_photometric(self, syntax: Syntax) -> str:
        """The Photometric Interpretation after decoding from `syntax` (PS3.5 §8.2)."""
        if self.samples_per_pixel != 3:
            return self.photometric_interpretation
        if syntax.uid in _DCT | _JPEG_XL or self.photometric_interpretation in ("YBR_ICT", "YBR_RCT", "XYB"):
            return "RGB"
        # Nothing is subsampled after decoding.
        return "YBR_FULL" if self.photometric_interpretation.startswith("YBR_FULL") else self.photometric_interpretation

    def decoded(self, syntax: Syntax) -> Image:
        """The Image of native frames, decoded from `syntax`."""
        return replace(self, photometric_interpretation=self.decoded_photometric(syntax), planar=False)


def image(values: Mapping[int, bytes], tag: int = PIXEL_DATA) -> Image:
    """Make an Image from the value fields of its attributes, little endian; `tag` is the element that holds its pixels.

    Raises: DataSetError that names a missing or impossible attribute.
    """

    def number(tag: int, default: int | None = None) -> int:
        value = values.get(tag, b"")
        if len(value) < 2:
            if default is None:
                raise DataSetError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing, which pixel data needs")
            return default
        return int.from_bytes(value[:2], "little")

    def text(tag: int) -> str:
        return values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    frames = text(NUMBER_OF_FRAMES) or "1"
    if _FRAMES.fullmatch(frames) is None or int(frames) > 0xFFFFFFFF:
        raise DataSetError(f"Number of Frames is {frames[:20]!r}")
    allocated = number(BITS_ALLOCATED)
    made = Image(
        rows=number(ROWS),
        columns=number(COLUMNS),
        samples_per_pixel=number(SAMPLES_PER_PIXEL, 1),
        photometric_interpretation=text(PHOTOMETRIC_INTERPRETATION),
        bits_allocated=allocated,
        bits_stored=number(BITS_STORED, allocated),
        signed=number(PIXEL_REPRESENTATION, 0) == 1,
        frames=max(1, int(frames)),  # Some writers say 0 for one frame.
        planar=number(PLANAR_CONFIGURATION, 0) == 1,
        floating=tag != PIXEL_DATA,
    )
    if (
        not made.rows
        or not made.columns
        or made.samples_per_pixel not in (1, 3)
        or not 0 < made.bits_stored <= made.bits_allocated
    ):
        raise DataSetError(f"pixels cannot be laid out like this: {made}")
    if made.bits_allocated not in _ALLOCATED[tag]:
        raise DataSetError(f"pixels with {made.bits_allocated} bits allocated are not read here")
    if made.frame_size > MAX_FRAME_BYTES:
        raise DataSetError(f"a frame of {made.frame_size} bytes is longer than {MAX_FRAME_BYTES}")
    return made
