"""Rendering of a stored object: one of its frames, or all of them, with the options of a request.

Blocking, for a thread; memory is that of a frame, for a cine that of its images. Caching is in `retrieve/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.dicom.source import Read
from gateway.errors import DataSetError
from gateway.imaging.image import Image
from gateway.imaging.pixels import VIDEO, Finder, PixelData
from gateway.render import picture
from gateway.render.colour import is_supplemented
from gateway.render.downsampling import downsampled
from gateway.render.grey import PIXEL_PADDING_VALUE, Window, of_frame
from gateway.render.header import Header, read_header
from gateway.render.labels import is_label_map
from gateway.render.overlay import has_overlays
from gateway.render.pipeline import MONOCHROME, layout_of, render
from gateway.render.profiles import Profile, with_profile
from gateway.render.reduced_resolution import SYNTAXES, reduced_frame
from gateway.render.viewport import Viewport, cut, pixel_aspect

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_FRAME_BYTES: Final = 256 << 20
"""Bytes of a decoded frame; rendering takes several times as much memory."""
MAX_CINE_FRAMES: Final = 600
MAX_CINE_PIXELS: Final = 1 << 26
"""Pixels of all frames of a GIF: they are in memory until it is written."""
_REPRESENTATIVE_FRAME: Final = 0x00286010


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The options of a rendering (PS3.18 §8.3.5). Equal options give the same bytes."""

    media_type: str = picture.JPEG
    quality: int = picture.QUALITY
    window: Window | None = None
    """Replaces the object's own window."""
    viewport: Viewport | None = None
    patient: bool = False
    technique: bool = False
    profile: Profile = "no"


@dataclass(frozen=True, slots=True)
class Subject:
    """A stored object with pixels that can be rendered, without the pixels themselves."""

    header: Header
    pixels: PixelData

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """Approximate bytes of memory."""
        return self.header.size + 32 * len(self.pixels)

    @property
    def work_bytes(self) -> int:
        """Approximate bytes of memory for rendering a frame in full.

        Measured at 6000 by 6000 pixels: beside the frame, 8.5 bytes for each grey pixel, 4.1 for each colour pixel.
        """
        image = self.pixels.image
        return self.pixels.decoding_bytes + image.rows * image.columns * (9 if image.samples_per_pixel == 1 else 5)

    @property
    def representative(self) -> int:
        """The representative frame, from 0: the one named by the object, or the first."""
        frame = self.header.integer(_REPRESENTATIVE_FRAME, 1) - 1
        return frame if 0 <= frame < len(self.pixels) else 0


class NotRenderable(DataSetError):
    """The object has no pixels, or none that can be decoded here. The text says which, for the client."""


def open_subject(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Subject:
    """Open the object whose data set `read` returns from `start` to `end`. Raises DataSetError, NotRenderable."""
    finder = Finder(read, start, end, transfer_syntax_uid)
    header = read_header(read, start, end, transfer_syntax_uid, finder)
    pixels = finder.found
    if pixels is None:
        raise NotRenderable("it has no pixel data")
    if pixels.syntax.uid in VIDEO:
        raise NotRenderable(f"{pixels.syntax.name} cannot be decoded here; request its stream instead")
    if pixels.image.frame_size > MAX_FRAME_BYTES:
        raise NotRenderable(f"a frame of {pixels.image.frame_size} bytes is larger than the limit of {MAX_FRAME_BYTES}")
    return Subject(header, pixels)


def render_frame(subject: Subject, read: Read, frame: int, options: RenderOptions) -> bytes:
    """Render a frame, from 0, to an image file. Raises DataSetError; BadRequest for a viewport outside the image."""
    array, profile = _array(subject, read, frame, options)
    return picture.encode(array, options.media_type, quality=options.quality, profile=profile)


def cine(subject: Subject, read: Read, options: RenderOptions) -> bytes:
    """Render all frames to a GIF. Raises NotRenderable when they are too many."""
    image = subject.pixels.image
    part = cut(options.viewport, image.rows, image.columns, pixel_aspect(subject.header, 0))
    samples = part.width * part.height * image.samples_per_pixel
    if len(subject) > MAX_CINE_FRAMES or len(subject) * samples > MAX_CINE_PIXELS:
        raise NotRenderable(
            f"{len(subject)} frames of {part.width} by {part.height} pixels are too many for a GIF; "
            "ask for a smaller viewport, or for single frames"
        )

    def pictures() -> Iterator[Array]:
        for frame in range(len(subject)):
            yield _array(subject, read, frame, options)[0]

    return picture.cine(pictures(), picture.frame_times(subject.header, len(subject)))


def thumbnail(subject: Subject, read: Read, frame: int, options: RenderOptions) -> bytes:
    """Render a frame like `render_frame`, no larger than the frame itself, decoding as little as possible."""
    image = subject.pixels.image
    assert options.viewport is not None
    side = max(image.rows, image.columns)
    viewport = replace(
        options.viewport, width=min(options.viewport.width, side), height=min(options.viewport.height, side)
    )
    part = cut(viewport, image.rows, image.columns, pixel_aspect(subject.header, frame))
    array: Array | None = None
    factor = min(image.columns / part.width, image.rows / part.height)
    small = _smaller(subject, read, frame, factor)
    if small is not None:
        photometric = image.decoded_photometric(subject.pixels.syntax)
        array = render(subject.header, small[0], photometric, frame, small[1], viewport=viewport)
    if array is None:
        array, _ = _array(subject, read, frame, replace(options, viewport=viewport))
    return picture.encode(array, options.media_type, quality=options.quality)


def _smaller(subject: Subject, read: Read, frame: int, factor: float) -> tuple[Image, bytes] | None:
    """Decode a frame at most `factor` times smaller; None where rendering needs every pixel."""
    image, header = subject.pixels.image, subject.header
    if has_overlays(header) or is_label_map(header):  # segment numbers have no mean
        return None
    if subject.pixels.syntax.uid in SYNTAXES:
        small = reduced_frame(subject.pixels.stored(read, frame), subject.pixels.syntax, image, factor)
        if small is not None:
            return small
    layout = layout_of(header, image)
    if image.photometric_interpretation not in MONOCHROME or is_supplemented(header, layout):
        return None
    if PIXEL_PADDING_VALUE in header and of_frame(header, frame) is None:
        return None  # padding must be excluded to find a window, and a mean would mix it in
    return downsampled(subject.pixels, layout, read, frame, factor)


def _array(subject: Subject, read: Read, frame: int, options: RenderOptions) -> tuple[Array, bytes]:
    """Render a frame to an array, with its colour profile."""
    pixels = subject.pixels
    array = render(
        *(subject.header, pixels.image, pixels.image.decoded_photometric(pixels.syntax), frame),
        pixels.native(read, frame),
        window=options.window,
        viewport=options.viewport,
    )
    profile = b""
    if options.profile != "no":
        array, profile = with_profile(array, subject.header, options.profile)
    if options.patient or options.technique:
        array = picture.annotate(array, subject.header, patient=options.patient, technique=options.technique)
    return array, profile
