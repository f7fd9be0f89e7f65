"""From a stored object to a picture of one of its frames, or of all: what is asked for, and how it is made.

Blocking, for a thread; memory is that of a frame, of a cine that of its pictures. Where pictures are kept and who may
ask is not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.dicom.source import Read
from gateway.errors import DataSetError
from gateway.imaging import picture
from gateway.imaging.colour import is_supplemented
from gateway.imaging.grey import PIXEL_PADDING_VALUE, Window, of_frame
from gateway.imaging.header import Header, read_header
from gateway.imaging.image import Image
from gateway.imaging.overlay import has_overlays
from gateway.imaging.pixels import VIDEO, Finder, PixelData
from gateway.imaging.profiles import Profile, with_profile
from gateway.imaging.reduced import SYNTAXES, reduced
from gateway.imaging.render import MONOCHROME, render, words_of
from gateway.imaging.thinned import thinned
from gateway.imaging.viewport import Viewport, cut, pixel_aspect

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_FRAME: Final = 256 << 20
"""Bytes of a decoded frame that is shown; on the way it takes several times as much memory."""
MAX_CINE_FRAMES: Final = 600
MAX_CINE_PIXELS: Final = 1 << 26
"""Of all frames of a GIF together: they are in memory until it is written."""
_REPRESENTATIVE_FRAME: Final = 0x00286010


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a picture is to be like (PS3.18 §8.3.5). Two that are equal give the same bytes."""

    media_type: str = picture.JPEG
    quality: int = picture.QUALITY
    window: Window | None = None
    """In place of the object's own."""
    viewport: Viewport | None = None
    patient: bool = False
    technique: bool = False
    profile: Profile = "no"


@dataclass(frozen=True, slots=True)
class Subject:
    """A stored object with pixels that can be shown. Holds none of them."""

    header: Header
    pixels: PixelData

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return self.header.size + 32 * len(self.pixels)

    @property
    def representative(self) -> int:
        """The frame, from 0, that stands for all of them: the one that the object names, or the first."""
        frame = self.header.integer(_REPRESENTATIVE_FRAME, 1) - 1
        return frame if 0 <= frame < len(self.pixels) else 0


class NothingToShow(DataSetError):
    """The object has no pixels, or such as are not decoded here. The text says which, for whoever asked."""


def subject(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Subject:
    """The object whose data set `read` gives from `start` to `end`. Raises DataSetError, NothingToShow."""
    finder = Finder(read, start, end, transfer_syntax_uid)
    header = read_header(read, start, end, transfer_syntax_uid, finder)
    pixels = finder.found
    if pixels is None:
        raise NothingToShow("it has no pixel data")
    if pixels.syntax.uid in VIDEO:
        raise NothingToShow(f"{pixels.syntax.name} is not decoded here; its stream can be had")
    if pixels.image.frame_size > MAX_FRAME:
        raise NothingToShow(f"a frame of {pixels.image.frame_size} bytes is more than {MAX_FRAME}, which are shown")
    return Subject(header, pixels)


def shown(of: Subject, read: Read, frame: int, wishes: Wishes) -> bytes:
    """A file with the picture of a frame, from 0. Raises DataSetError, BadRequest for a viewport outside of it."""
    array, profile = _array(of, read, frame, wishes)
    return picture.encode(array, wishes.media_type, quality=wishes.quality, profile=profile)


def cine(of: Subject, read: Read, wishes: Wishes) -> bytes:
    """A GIF with all frames. NothingToShow where that is more than should be shown at once."""
    image = of.pixels.image
    part = cut(wishes.viewport, image.rows, image.columns, pixel_aspect(of.header, 0))
    if len(of) > MAX_CINE_FRAMES or len(of) * part.width * part.height * image.samples > MAX_CINE_PIXELS:
        raise NothingToShow(
            f"{len(of)} frames of {part.width} by {part.height} pixels are too many for a GIF; "
            "ask for a smaller viewport, or for single frames"
        )

    def pictures() -> Iterator[Array]:
        for frame in range(len(of)):
            yield _array(of, read, frame, wishes)[0]

    return picture.cine(pictures(), picture.frame_times(of.header, len(of)))


def thumbnail(of: Subject, read: Read, frame: int, wishes: Wishes) -> bytes:
    """As `shown`, at most as large as the frame, and with as little decoding as that takes."""
    image = of.pixels.image
    assert wishes.viewport is not None
    side = max(image.rows, image.columns)
    viewport = replace(
        wishes.viewport, width=min(wishes.viewport.width, side), height=min(wishes.viewport.height, side)
    )
    part = cut(viewport, image.rows, image.columns, pixel_aspect(of.header, frame))
    array: Array | None = None
    factor = min(image.columns / part.width, image.rows / part.height)
    small = _smaller(of, read, frame, factor)
    if small is not None:
        photometric = image.decoded_photometric(of.pixels.syntax)
        array = render(of.header, small[0], photometric, frame, small[1], viewport=viewport)
    if array is None:
        array, _ = _array(of, read, frame, replace(wishes, viewport=viewport))
    return picture.encode(array, wishes.media_type, quality=wishes.quality)


def _smaller(of: Subject, read: Read, frame: int, factor: float) -> tuple[Image, bytes] | None:
    """The decoded frame, `factor` times smaller at most; None where its picture has to be made of all of it."""
    image, header = of.pixels.image, of.header
    if has_overlays(header):
        return None
    if of.pixels.syntax.uid in SYNTAXES:
        small = reduced(of.pixels.stored(read, frame), of.pixels.syntax, image, factor)
        if small is not None:
            return small
    words = words_of(header, image)
    if image.photometric not in MONOCHROME or is_supplemented(header, words):
        return None
    if PIXEL_PADDING_VALUE in header and of_frame(header, frame) is None:
        return None  # padding is told from values to find a window, and a mean of both is neither
    return thinned(of.pixels, words, read, frame, factor)


def _array(of: Subject, read: Read, frame: int, wishes: Wishes) -> tuple[Array, bytes]:
    """The picture, and the colour profile that goes with it."""
    pixels = of.pixels
    array = render(
        *(of.header, pixels.image, pixels.image.decoded_photometric(pixels.syntax), frame),
        pixels.native(read, frame),
        window=wishes.window,
        viewport=wishes.viewport,
    )
    profile = b""
    if wishes.profile != "no":
        array, profile = with_profile(array, of.header, wishes.profile)
    if wishes.patient or wishes.technique:
        array = picture.annotate(array, of.header, patient=wishes.patient, technique=wishes.technique)
    return array, profile
