"""Erasing objects in segments: afterwards no byte of them can be read, not even from the disk itself.

First the headers are overwritten, durably, so that nobody takes what comes next for an object (`reader.py`); then the
notes and the objects, with zeros. A hole in the file would free the blocks, and leave the bytes on the disk. Everything
blocks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from gateway.errors import StorageFailed
from gateway.storage.erasure import write_zeros
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FRAME_HEADER_BYTES, FrameKind
from gateway.storage.segments.scan import SegmentScan


def erase(folder: SegmentFolder, name: str, offsets: Sequence[int]) -> dict[int, int]:
    """Erase the objects whose frames are at these offsets of a segment; returns the bytes of each frame. Idempotent; a
    segment that is gone has none.

    Raises: OSError; StorageFailed when it is not certain that they are gone.
    """
    disk = folder.disk
    try:
        with folder.opened(name, os.O_RDWR) as descriptor:
            scan = SegmentScan(disk, descriptor, name)
            gone = [frame for frame in map(scan.header, offsets) if frame is not None]
            try:
                for frame in gone:
                    erased = frame._replace(kind=FrameKind.ERASED, checksum=0)
                    disk.write_at(descriptor, erased.encode(), frame.offset, durably=False)
                disk.fdatasync(descriptor)
                for frame in gone:
                    write_zeros(disk, descriptor, frame.offset + FRAME_HEADER_BYTES, frame.end)
                disk.fdatasync(descriptor)
            except OSError as error:
                raise StorageFailed(f"erasing in segment {name} failed: {error.strerror}") from error
            return {frame.offset: frame.length for frame in gone}
    except FileNotFoundError:
        return {}
