"""Where the frames of stored objects are, remembered: a frame of a multi-frame object is then read by its offset.

And what a frame can be had in. Finding frames is in `imaging/pixels.py`, reading objects in `retrieve.py`.
"""

from __future__ import annotations

from typing import Final

from gateway.archive.retrieve import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.imaging.cache import Cache
from gateway.imaging.encode import LOSSLESS
from gateway.imaging.pixels import PixelData, locate_pixels
from gateway.imaging.transcode import SOURCES
from gateway.index.locate import Located
from gateway.storage.store import StoredObject

_MEMORY: Final = 32 << 20
_FRAGMENT: Final = 24
"""Bytes that a fragment takes: its offset, length, and share in the frames' bounds."""


def frame_obtainable(stored: str, target: str) -> bool:
    """Whether the frames of an object stored in one transfer syntax can be had in the other, as far as that says it.

    EXPLICIT_VR_LITTLE_ENDIAN stands for uncompressed ones. Some images are too deep for some codecs.
    """
    return stored == target or (stored in SOURCES and (target == EXPLICIT_VR_LITTLE_ENDIAN or target in LOSSLESS))


class PixelPlaces:
    """The frames of objects by storage key. For any thread."""

    def __init__(self) -> None:
        self._known: Cache[PixelData | None] = Cache(_MEMORY, _size)

    def find(self, stored: StoredObject, located: Located) -> PixelData | None:
        """The frames of an object that is open; None where it has no pixels. Blocks. DataSetError."""

        def find() -> PixelData | None:
            return locate_pixels(stored.read, located.data_set_offset, located.size, located.transfer_syntax_uid)

        return self._known.get(located.key, find)


def _size(pixels: PixelData | None) -> int:
    return len(pixels) * _FRAGMENT if pixels is not None and pixels.syntax.encapsulated else 0
