"""Unreadable objects, stored aside with the reason, under a quota. They are never in the index.

Everything blocks; call it in a thread, one at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from gateway.storage.disk import write_all
from gateway.storage.erasure import erase_file
from gateway.storage.incoming import IncomingFile
from gateway.storage.layout import Layout


class RejectedFolder:
    """The folder `rejected/`. The oldest objects are deleted when the total exceeds `quota` bytes."""

    def __init__(self, layout: Layout, quota: int) -> None:
        self._layout = layout
        self._disk = layout.disk
        self._quota = quota
        self._sizes: dict[str, int] = {}
        for name in sorted(self._disk.listdir(str(layout.rejected))):
            key, _, ending = name.partition(".")
            if ending == "dcm":
                self._sizes[key] = self._disk.stat(f"{layout.rejected}/{name}").st_size

    def add(self, file: IncomingFile, note: Mapping[str, object]) -> None:
        """Move a complete incoming file here, with `note` beside it as JSON. A file over the quota is discarded."""
        if file.size > self._quota:
            file.discard()
            return
        while self._sizes and sum(self._sizes.values()) + file.size > self._quota:
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            for path in self._layout.rejected_files(oldest):
                erase_file(self._disk, str(path))
        data, text = map(str, self._layout.rejected_files(file.key))
        self._write(text, msgspec.json.format(msgspec.json.encode(dict(note))))
        self._disk.rename(file.path, data)
        file.discard()
        self._sizes[file.key] = file.size

    def _write(self, path: str, data: bytes) -> None:
        descriptor = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._disk, descriptor, [data])
        finally:
            self._disk.close(descriptor)
