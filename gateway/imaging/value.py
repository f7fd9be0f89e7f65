"""Frames decoded one by one, as one uncompressed value.

All are decoded once before the first byte is returned, so that an undecodable frame is found while another response
is possible. Values that fit stay in memory, others are decoded again when sent: their lengths are known, so
nothing has to be spooled to a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gateway.dicom.source import CHUNK
from gateway.errors import DataSetError
from gateway.imaging import layout
from gateway.imaging.image import Image

MAX_RETAINED_BYTES: Final = 16 << 20
"""Bytes of decoded frames retained until they are sent, so that they need not be decoded again."""


class DecodedValue:
    """The value of `count` frames of `image`; `frame` returns a decoded frame by its number from 0.

    `room` is how many bytes may be retained. Raises: DataSetError on construction, unless `image` has `count` frames.
    """

    def __init__(self, image: Image, count: int, frame: Callable[[int], bytes], room: int = MAX_RETAINED_BYTES) -> None:
        if count != image.frames:
            raise DataSetError(f"{image.frames} frames are announced, {count} are there")
        self.length = image.native_size
        """Length in bytes."""
        self.retained = image.native_size <= room
        """Whether the whole value stays in memory once it has been decoded."""
        self._image = image
        self._frame = frame
        self._frames: list[bytes] = []

    def decode_all(self) -> Iterator[None]:
        """Decode each frame once, one a step. Raises: DataSetError for the first that cannot be decoded."""
        for number in range(self._image.frames):
            frame = self._frame(number)
            if self.retained:
                self._frames.append(frame)
            yield

    def pieces(self, first: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of the value from `first` to before `stop`, in pieces of at most 1 MiB."""
        bits = self._image.frame_bits
        number = 0 if bits % 8 else min(first * 8 // bits, self._image.frames)
        at, stop = number * bits // 8, self.length if stop is None else stop
        for piece in layout.joined(map(self._decoded, range(number, self._image.frames)), self._image):
            if at >= stop:
                return
            for start in range(max(first - at, 0), min(stop - at, len(piece)), CHUNK):
                yield piece[start : min(start + CHUNK, stop - at)]
            at += len(piece)

    def _decoded(self, number: int) -> bytes:
        return self._frames[number] if self._frames else self._frame(number)
