"""The one place where a key becomes a path.

A data folder holds:

    database.sqlite            the index, with its -wal and -shm
    database.postgresql        in the place of it: the index is in PostgreSQL; see gateway/ingest/index_database.py
    write.lock                 writers of the database queue on it; with PostgreSQL it counts their commits
    serving.lock               locked by the gateway that serves the folder; see gateway/storage/ownership.py
    store/<5>/<2>/<key>        instances, and files attached to them and what is above them (`ingest/attached_file.py`);
                               the folders are the leading characters of the key, which is a time
    segments/<name>            instances, many in each; see gateway/storage/segments/frame.py
    incoming/<worker>/<key>    instances being received; `<worker>/lock` is locked while the worker lives
    rejected/<key>.dcm, .json  unreadable objects, with the reason
    unindexed/<key>.dcm        complete instances left by a crash that the index did not have
    outputs/<job>              archives that jobs have made; see gateway/storage/outputs.py
    migrations/                what migrations have brought, so that they can go on; see gateway/migration/ledger.py
    ohif/                      the OHIF viewer, where it is installed; see gateway/web/viewer/release.py
    backed-up                  empty; its time is that of the last finished backup
    backup.json                in a backup only: marks it as complete, and lists its contents
    (files without a name)     frames that wait to be sent

Keys are ULIDs: 48 bits of milliseconds, when the key was made, and 80 random bits; 26 characters of Crockford's base
32. They are ours; no string of a peer is ever part of a path. Instances written together lie together: a folder of
the store covers 33 seconds of keys, so that one fsync of it serves all of that time, and no folder grows past what a
file system handles well.
"""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import StorageError
from gateway.storage.disk import LOCAL, Disk

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGITS = frozenset(_ALPHABET)
KEY_LENGTH = 26
UPPER_LENGTH, LOWER_LENGTH = 5, 2
"""Characters of a key that name its two folders: the outer one covers 9 hours, the inner one 33 seconds."""


def new_key(milliseconds: int) -> str:
    """A new key for an object that arrived at `milliseconds` since 1970."""
    number = (milliseconds & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = []
    for _ in range(KEY_LENGTH):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(digits))


def is_key(text: str) -> bool:
    return is_part_of_key(text, KEY_LENGTH)


def is_part_of_key(text: str, length: int) -> bool:
    """Whether the text could be `length` characters of a key, as the names of the store's folders are."""
    return len(text) == length and _DIGITS.issuperset(text)


class Layout:
    """Paths below one data folder, and the disk of its store. Only `has_index` does I/O."""

    def __init__(self, base: Path, disk: Disk = LOCAL) -> None:
        """`base` may be relative."""
        self.base = base
        self.disk = disk
        self.database = base / "database.sqlite"
        self.marker = base / "database.postgresql"
        self.rebuilding = base / "database.sqlite.rebuilding"
        self.write_lock = base / "write.lock"
        self.serving_lock = base / "serving.lock"
        self.reserve = base / "reserve"
        self.store = base / "store"
        self.segments = base / "segments"
        self.incoming = base / "incoming"
        self.rejected = base / "rejected"
        self.unindexed = base / "unindexed"
        self.spool = base
        self.ohif = base / "ohif"
        self.outputs = base / "outputs"
        self.migrations = base / "migrations"
        self.manifest = base / "backup.json"
        self.backed_up = base / "backed-up"
        self._store = str(self.store)

    def has_index(self) -> bool:
        """Whether the folder has an index, here or on a server. Blocks."""
        return self.database.exists() or self.marker.exists()

    def stored(self, key: str) -> str:
        """The path of the object `key`. Raises: StorageError for a string that is not a key."""
        if not is_key(key):
            raise StorageError(f"{key!r} is not a storage key")
        lower = UPPER_LENGTH + LOWER_LENGTH
        return f"{self._store}/{key[:UPPER_LENGTH]}/{key[UPPER_LENGTH:lower]}/{key}"

    def worker(self, name: str) -> Path:
        """The incoming folder of a worker."""
        return self.incoming / name

    def rejected_files(self, key: str) -> tuple[Path, Path]:
        """The paths of a rejected object, and of the note with the reason."""
        if not is_key(key):
            raise StorageError(f"{key!r} is not a storage key")
        return self.rejected / f"{key}.dcm", self.rejected / f"{key}.json"

    def output(self, job: int) -> Path:
        """The path of what a job has made."""
        return self.outputs / str(job)

    def unindexed_file(self, key: str) -> Path:
        """The path of an instance left by a crash that the index did not have."""
        if not is_key(key):
            raise StorageError(f"{key!r} is not a storage key")
        return self.unindexed / f"{key}.dcm"
