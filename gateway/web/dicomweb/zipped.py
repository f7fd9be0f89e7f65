"""application/zip: instances as DICOM files in one archive, written as it is sent. Names are ours, never a peer's.

The standard library's `zipfile` writes to a sink that cannot seek. Compared with a writer of our own it takes the same
time for a file (62 µs of CPU for 8 KiB), and 360 bytes of memory until the directory is written instead of 220. Files
are stored, not deflated: pixels rarely shrink, and most archive viewers read them as they are. Zip64 throughout, since
no size is known before its file has been sent.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final

from gateway.http.zip_sink import ZipSink
from gateway.retrieve.opened import Content
from gateway.retrieve.retrieval import Retrieval

ZIP: Final = "application/zip"


async def zipped(retrieval: Retrieval, opened: AsyncGenerator[Content, None]) -> AsyncGenerator[bytes, None]:
    """Yield the archive in chunks: `series-001/000001.dcm` and so on, in the order of `opened`, which is closed.

    Several hundred bytes for each file stay in memory until the directory is written at the end. A series may reappear
    after another one (a study of two patients, whose series have equal numbers): files are counted by folder.
    """
    folders: dict[str, int] = {}
    counts: Counter[int] = Counter()
    sink = ZipSink()
    archive = zipfile.ZipFile(sink, "w")
    try:
        async with aclosing(opened) as contents:
            async for content in contents:
                folder = folders.setdefault(content.located.series_uid, len(folders) + 1)
                counts[folder] += 1
                # Dated 1 January 1980: the real date is in the data set.
                info = zipfile.ZipInfo(f"series-{folder:03}/{counts[folder]:06}.dcm")
                with archive.open(info, "w", force_zip64=True) as entry:
                    async with aclosing(content.chunks()) as chunks:
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
