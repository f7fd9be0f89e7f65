"""Comparison of a new instance with the stored one: equal bytes in the same transfer syntax, or not."""

from __future__ import annotations

import contextlib

from gateway.errors import NoSuchObject, StorageError
from gateway.index.store import Duplicate, FileLocation
from gateway.storage.store import ObjectSource, Store

_PIECE_BYTES = 1 << 20
"""Bytes compared at a time."""


def same_bytes(store: Store, ours: FileLocation, other: Duplicate, ours_in: ObjectSource | None = None) -> bool:
    """Whether transfer syntax and data set bytes of `ours` equal those of `other`, which is stored. Blocks.

    `ours_in` holds ours, if not the store. Raises: NoSuchObject when the stored ones are gone; StorageError.
    """
    length = ours.size - ours.data_set_offset
    if (other.transfer_syntax_uid, other.size - other.data_set_offset) != (ours.transfer_syntax_uid, length):
        return False
    with contextlib.ExitStack() as opened:
        theirs = opened.enter_context(contextlib.closing(store.open(other.key)))
        try:
            new = opened.enter_context(contextlib.closing((ours_in or store).open(ours.key)))
        except NoSuchObject:
            raise StorageError("the file of a new instance has gone") from None
        return all(
            new.read(ours.data_set_offset + at, _PIECE_BYTES) == theirs.read(other.data_set_offset + at, _PIECE_BYTES)
            for at in range(0, length, _PIECE_BYTES)
        )
