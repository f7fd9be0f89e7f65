"""The one place where a key becomes a path.

A data folder holds:

    database.sqlite            the index, with its -wal and -shm
    write.lock                 writers of the database queue on it
    store/<5>/<2>/<key>        instances; the folders are the leading characters of the key, which is a time
    incoming/<worker>/<key>    instances on their way in; `<worker>/lock` says that the worker lives
    rejected/<key>.dcm, .json  what could not be read, with the reason
    ohif/                      the OHIF viewer, where it is installed; see gateway/web/ohif/release.py
    backup.json                in a backup alone: that it is whole, and what it holds
    (files without a name)     frames that wait to be sent

Keys are ULIDs: 48 bits of milliseconds, when the key was made, and 80 of chance, 26 characters of Crockford's base 32.
They are ours; no string of a peer's ever gets here. What is written together lies together: a folder of the store
covers 33 seconds of keys, so that one fsync of it serves everything of that time, and none grows past what a file
system likes.
"""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import StorageError

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGITS = frozenset(_ALPHABET)
KEY_LENGTH = 26


def new_key(milliseconds: int) -> str:
    """A fresh key for something that arrived at `milliseconds` since 1970."""
    number = (milliseconds & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = []
    for _ in range(KEY_LENGTH):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(digits))


def is_key(text: str) -> bool:
    return len(text) == KEY_LENGTH and _DIGITS.issuperset(text)


class Layout:
    """Paths below one data folder. `base` may be relative; nothing here touches the disk."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.database = base / "database.sqlite"
        self.write_lock = base / "write.lock"
        self.store = base / "store"
        self.incoming = base / "incoming"
        self.rejected = base / "rejected"
        self.spool = base
        self.ohif = base / "ohif"
        self.manifest = base / "backup.json"
        self._store = str(self.store)

    def stored(self, key: str) -> str:
        """Where the object `key` stands. Raises StorageError for what is not a key."""
        if not is_key(key):
            raise StorageError(f"{key!r} is not a storage key")
        return f"{self._store}/{key[:5]}/{key[5:7]}/{key}"

    def worker(self, name: str) -> Path:
        """The incoming folder of a worker."""
        return self.incoming / name

    def rejected_files(self, key: str) -> tuple[Path, Path]:
        """The object that was refused, and the note that says why."""
        if not is_key(key):
            raise StorageError(f"{key!r} is not a storage key")
        return self.rejected / f"{key}.dcm", self.rejected / f"{key}.json"
