"""Frames of open instances in the transfer syntax in which they are wanted. Everything here blocks.

Media types, parts and ranges are the web's: what runs in a reading thread knows no request.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import NotFound
from gateway.imaging.pixels import PixelData
from gateway.index.locate import Located
from gateway.retrieve.frame_index import FrameIndexCache
from gateway.retrieve.frame_memory import FrameMemory
from gateway.storage.store import StoredObject


def pixels_with(index: FrameIndexCache, stored: StoredObject, located: Located, numbers: Sequence[int]) -> PixelData:
    """The pixel data of an instance, which has all frames of these numbers (from 1). Raises NotFound, DataSetError."""
    pixels = index.find(stored, located)
    if pixels is None:
        raise NotFound(f"instance {located.sop_uid} has no pixel data")
    missing = next((number for number in numbers if number > len(pixels)), None)
    if missing is not None:
        raise NotFound(f"instance {located.sop_uid} has {len(pixels)} frames, not {missing}")
    return pixels


def frame_bytes(
    pixels: PixelData, stored: StoredObject, number: int, transfer_syntax: str, memory: FrameMemory, *, compressed: bool
) -> bytes:
    """The bytes of frame `number`, from 0: a compressed stream in a transfer syntax, or uncompressed, little endian, in
    the layout that metadata describe.

    Decoding reserves its `memory` first. Raises DataSetError, Overloaded.
    """
    if transfer_syntax == pixels.syntax.uid or not (compressed or pixels.syntax.encapsulated):
        return pixels.stored(stored.read, number)
    with memory.reserved(pixels.decoding_bytes):
        if not compressed:
            return pixels.native(stored.read, number)
        return pixels.encoded(stored.read, number, transfer_syntax)
