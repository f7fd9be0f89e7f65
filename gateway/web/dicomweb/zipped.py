"""application/zip: instances as DICOM files in one archive, written as it is sent. Names are ours, never a peer's.

Files are stored, not deflated: pixels seldom get shorter, and most viewers of archives take them as they are. Zip64
throughout, since no size is known before its file has been sent.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from struct import Struct
from typing import Final, NamedTuple

from gateway.archive.retrieve import Choose, Retrieval
from gateway.index.locate import Located

ZIP: Final = "application/zip"

_LOCAL: Final = Struct("<4s5H3L2H")
_DESCRIPTOR: Final = Struct("<4sLQQ")
_CENTRAL: Final = Struct("<4s6H3L5H2L")
_LOCAL_EXTRA: Final = Struct("<2H2Q").pack(1, 16, 0, 0)
"""That the sizes in the descriptor have 64 bits (APPNOTE 4.3.9.2)."""
_EXTRA: Final = Struct("<2H3Q")
_END64: Final = Struct("<4sQ2H2L4Q")
_LOCATOR: Final = Struct("<4sLQL")
_END: Final = Struct("<4s4H2LH")
_VERSION: Final = 45
"""Of the format: zip64 (APPNOTE 4.4.3.2)."""
_STREAMED: Final = 0x0808
"""Sizes stand in a descriptor behind the data; names are UTF-8."""
_DATE: Final = 1 << 5 | 1
"""1 January 1980: when a file was made is in its data set."""
_ALL: Final = 0xFFFFFFFF


class _Entry(NamedTuple):
    name: bytes
    checksum: int
    size: int
    offset: int


async def zipped(
    retrieval: Retrieval, located: AsyncGenerator[Located, None], select: Choose
) -> AsyncGenerator[bytes, None]:
    """The archive: `series-001/000001.dcm` and so on, in the order of `located`, which is closed.

    A few dozen bytes for each file stay in memory until its directory is written at the end.
    """
    entries: list[_Entry] = []
    folders: dict[str, int] = {}
    number = position = 0
    async with aclosing(retrieval.opened(located, select)) as contents:
        async for content in contents:
            series = content.located.series_uid
            number = number + 1 if series in folders else 1
            folder = folders.setdefault(series, len(folders) + 1)
            name = f"series-{folder:03}/{number:06}.dcm".encode()
            sizes = (0, _ALL, _ALL, len(name), len(_LOCAL_EXTRA))
            head = _LOCAL.pack(b"PK\x03\x04", _VERSION, _STREAMED, 0, 0, _DATE, *sizes) + name + _LOCAL_EXTRA
            yield head
            checksum = size = 0
            async with aclosing(content.chunks()) as chunks:
                async for chunk in chunks:
                    checksum = await retrieval.run(zlib.crc32, chunk, checksum)
                    size += len(chunk)
                    yield chunk
            tail = _DESCRIPTOR.pack(b"PK\x07\x08", checksum, size, size)
            yield tail
            entries.append(_Entry(name, checksum, size, position))
            position += len(head) + size + len(tail)
    start = position
    for at in range(0, len(entries), 1000):
        piece = b"".join(map(_central, entries[at : at + 1000]))
        position += len(piece)
        yield piece
    yield _end(len(entries), start, position)


def _central(entry: _Entry) -> bytes:
    """An entry of the central directory (APPNOTE 4.3.12), its sizes and offset in the zip64 field (4.5.3)."""
    extra = _EXTRA.pack(1, 24, entry.size, entry.size, entry.offset)
    versions = (_VERSION, _VERSION, _STREAMED, 0, 0, _DATE)
    sizes = (entry.checksum, _ALL, _ALL, len(entry.name), len(extra), 0, 0, 0, 0, _ALL)
    return _CENTRAL.pack(b"PK\x01\x02", *versions, *sizes) + entry.name + extra


def _end(count: int, start: int, stop: int) -> bytes:
    """The end of the central directory that stands from `start` to `stop` (APPNOTE 4.3.14 to 4.3.16)."""
    return b"".join(
        (
            _END64.pack(b"PK\x06\x06", _END64.size - 12, _VERSION, _VERSION, 0, 0, count, count, stop - start, start),
            _LOCATOR.pack(b"PK\x06\x07", 0, stop, 1),
            _END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, _ALL, _ALL, 0),
        )
    )
