"""One opened instance: as stored, transcoded, or with a change set applied.

`retrieval.py` finds it, and finds it again after it has moved; `content.py` reads its bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from gateway.edit.change_set import ChangeSet, Received
from gateway.edit.edited import Edited
from gateway.imaging.workspace import Workspace
from gateway.index.locate import Located
from gateway.retrieve.content import check_size
from gateway.retrieve.read_ahead import ReadAhead
from gateway.storage.store import Store, StoredObject


@dataclass(slots=True)
class Content:
    """One opened instance, as a DICOM file (PS3.10) or a data set alone; the first chunk has been read.

    Iterate `chunks()` once.
    """

    located: Located
    transfer_syntax_uid: str
    length: int | None
    """Bytes in all; None while the instance is transcoded, since the length is not known before."""
    _first: bytes
    _rest: ReadAhead[bytes]
    sop_instance_uid: str
    """That of the stored instance, unless it was changed or compressed with loss."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the instance in chunks of about `MemoryBudget.piece` bytes. Closes the stored object at the end or on
        close."""
        try:
            chunk: bytes | None = self._first
            self._first = b""  # Frees the chunk, which a slow client would otherwise hold to the end.
            left = self.length
            while chunk is not None:
                if left is not None:
                    left -= len(chunk)
                if left != 0:
                    self._rest.ahead()  # read on while this chunk is being sent
                yield chunk
                chunk = await self._rest.next() if left != 0 else None
        finally:
            self._rest.close()

    def close(self) -> None:
        self._rest.close()


@dataclass(frozen=True, slots=True)
class Changed:
    """A stored instance with a change set applied; for one reader at a time."""

    located: Located
    edited: Edited
    _stored: StoredObject

    def close(self) -> None:
        self.edited.close()
        self._stored.close()


async def first_chunk(read_ahead: ReadAhead[bytes]) -> bytes:
    """The first chunk, b"" for none. Skips the empty chunks of a scan."""
    try:
        while (first := await read_ahead.next()) == b"":
            pass
    except BaseException:
        read_ahead.close()
        raise
    return first or b""


def read_edited(
    store: Store, located: Located, changes: ChangeSet, received: Received, workspace: Workspace
) -> Changed:
    """Open a stored instance and apply a change set. Blocking.

    Raises NoSuchObject, StorageError, DataSetError, EditError.
    """
    stored = store.open(located.key)
    try:
        check_size(stored, located)
        edited = changes.apply(
            stored.read,
            located.data_set_offset,
            located.size,
            located.transfer_syntax_uid,
            received=received,
            workspace=workspace,
        )
    except BaseException:
        stored.close()
        raise
    return Changed(located, edited, stored)
