"""Complete instances left by a crash that the index did not have: set aside, and never deleted for that alone.

Everything blocks; call it in a thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gateway.storage.disk import sync_folder
from gateway.storage.erasure import erase_file
from gateway.storage.filesystem import FileObject, open_object
from gateway.storage.layout import Layout, is_key

_ENDING = ".dcm"


class UnindexedFolder:
    """The folder `unindexed/` of a data folder; it exists only while it holds something."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._disk = layout.disk
        self.path = str(layout.unindexed)

    def keys(self) -> list[str]:
        """Storage keys of the files in this folder, oldest first."""
        try:
            names = self._disk.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(key for name in names if name.endswith(_ENDING) and is_key(key := name.removesuffix(_ENDING)))

    def open(self, key: str) -> FileObject:
        """Open a file of this folder; otherwise as `Store.open`."""
        return open_object(self._disk, self._path(key), key)

    def add(self, files: Sequence[tuple[str, str]]) -> None:
        """Move incoming files, (path, key) each, into this folder durably. Raises: OSError, with nothing lost.

        Their names in the store were removed before: a file there without an incoming name would stop the next start.
        """
        self._disk.makedirs(self.path, 0o750)
        for path, key in files:
            self._disk.rename(path, self._path(key))
        for folder in (self.path, str(self._layout.base)):
            sync_folder(self._disk, folder)

    def remove(self, key: str) -> None:
        """Delete a file, and the folder with the last one. Another process may have done so already."""
        with contextlib.suppress(OSError):
            erase_file(self._disk, self._path(key))
            self._disk.rmdir(self.path)

    def _path(self, key: str) -> str:
        return str(self._layout.unindexed_file(key))
