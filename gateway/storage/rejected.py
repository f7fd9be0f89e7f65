"""Objects that could not be read, kept aside with the reason, under a quota. They are never in the index.

Everything blocks; call it in a thread, one at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from gateway.storage.incoming import IncomingFile
from gateway.storage.layout import Layout


class RejectedFolder:
    """The folder `rejected/`. The oldest objects go when those kept take more than `quota` bytes."""

    def __init__(self, layout: Layout, quota: int) -> None:
        self._layout = layout
        self._quota = quota
        self._kept: dict[str, int] = {}
        for name in sorted(os.listdir(layout.rejected)):
            key, _, ending = name.partition(".")
            if ending == "dcm":
                self._kept[key] = os.stat(layout.rejected / name).st_size

    def keep(self, file: IncomingFile, note: Mapping[str, object]) -> None:
        """Move a complete incoming file here, with `note` beside it as JSON. One over the quota is discarded."""
        if file.size > self._quota:
            file.discard()
            return
        while self._kept and sum(self._kept.values()) + file.size > self._quota:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            for path in self._layout.rejected_files(oldest):
                path.unlink(missing_ok=True)
        data, text = self._layout.rejected_files(file.key)
        text.write_bytes(msgspec.json.format(msgspec.json.encode(dict(note))))
        os.rename(file.path, data)
        file.discard()
        self._kept[file.key] = file.size
