"""What lies aside in a data folder, in `rejected/` and `unindexed/`: looked through, and erased. Everything blocks."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from gateway.storage.erasure import erase_file
from gateway.storage.layout import Layout


def erase_aside(layout: Layout, is_meant: Callable[[mmap.mmap], bool]) -> int:
    """Erase the files that lie aside and are meant, with their notes; returns the number. Raises: OSError."""
    count = 0
    for folder in (layout.rejected, layout.unindexed):
        for path in sorted(folder.glob("*.dcm")):
            with path.open("rb") as file:
                try:
                    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                except ValueError:  # It is empty.
                    continue
                with data:
                    if not is_meant(data):
                        continue
            erase_file(layout.disk, str(path))
            erase_file(layout.disk, str(path.with_suffix(".json")))
            count += 1
    return count
