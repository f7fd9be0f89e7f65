"""An index of the frames of stored objects, cached: a frame of a multi-frame object is then read by its offset.

Also which transfer syntaxes a frame can be sent in. `imaging/pixels.py` finds frames, `retrieval.py` reads objects.
"""

from __future__ import annotations

from typing import Final

from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.imaging.cache import Cache
from gateway.imaging.encode import LOSSLESS
from gateway.imaging.pixels import RECOMPRESSED_JPEG, PixelData, locate_pixels
from gateway.imaging.transcode import SOURCES
from gateway.index.locate import Located
from gateway.storage.store import StoredObject

_MEMORY: Final = 32 << 20
_FRAGMENT: Final = 24
"""Bytes of memory for a fragment: its offset, length, and share in the frames' bounds."""


def frame_obtainable(stored: str, target: str) -> bool:
    """Whether frames stored in one transfer syntax can be sent in another, judged by the syntaxes alone.

    EXPLICIT_VR_LITTLE_ENDIAN stands for every uncompressed one. Some images are too deep for some codecs.
    """
    return target in (stored, wrapped_syntax(stored)) or (
        stored in SOURCES and (target == EXPLICIT_VR_LITTLE_ENDIAN.uid or target in LOSSLESS)
    )


def wrapped_syntax(stored: str) -> str:
    """The transfer syntax of the stream that lies whole inside a frame of the stored syntax; empty for none."""
    return RECOMPRESSED_JPEG[1] if stored == RECOMPRESSED_JPEG[0] else ""


class FrameIndexCache:
    """Caches the frame index of objects by storage key. For any thread."""

    def __init__(self) -> None:
        self._known: Cache[PixelData | None] = Cache("places of frames", _MEMORY, _size)

    def find(self, stored: StoredObject, located: Located) -> PixelData | None:
        """The frames of an open object; None without pixel data. Blocks. Raises DataSetError."""

        def find() -> PixelData | None:
            return locate_pixels(stored.read, located.data_set_offset, located.size, located.transfer_syntax_uid)

        return self._known.get(located.key, find)


def _size(pixels: PixelData | None) -> int:
    return len(pixels) * _FRAGMENT if pixels is not None and pixels.syntax.encapsulated else 0
