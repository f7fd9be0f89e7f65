"""One DICOM file on its way in, in whatever pieces it comes: from an import, STOW-RS or the REST upload.

Its header says what it is and is then replaced by ours; its data set is streamed into the ingest. When it is safe is
decided in `ingest.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.archive.files import HEAD, LOOK, identity, read_meta
from gateway.archive.ingest import Ingest, Taken
from gateway.archive.reception import Reception
from gateway.dicom import uids
from gateway.errors import NotAnInstance, TruncatedDataSet, UnsupportedTransferSyntax
from gateway.index.store import Origin


class Arrival:
    """One file. `write` its bytes, then `end`; `abandon` it where its sender does not."""

    def __init__(self, ingest: Ingest, origin: Origin, *, study_instance_uid: str = "") -> None:
        """`study_instance_uid`: the only study that it may belong to; empty: any."""
        self._ingest = ingest
        self._origin = origin
        self._study_instance_uid = study_instance_uid
        self._head: list[bytes | memoryview] = []
        self._size = 0
        self._look_at = LOOK
        self._reception: Reception | None = None
        self.sop_class_uid = ""
        self.sop_instance_uid = ""
        """What it says it is, once that has come; else empty."""

    async def write(self, data: bytes | memoryview) -> None:
        """The next bytes, which nobody will change; returns when more may come.

        Raises NotAnInstance, DataSetError where the header cannot be read, UnsupportedTransferSyntax, and what
        `Ingest.begin` raises; then nothing more is taken.
        """
        if self._reception is None:
            self._head.append(data)
            self._size += len(data)
            if self._size >= self._look_at:
                self._begin(final=False)
        else:
            self._reception.write(data, None)
        if self._reception is not None:
            await self._reception.drained()

    def end(self) -> asyncio.Task[Taken]:
        """That was all of it. The task is that of `Ingest.end`; raises as `write` does."""
        if self._reception is None:
            self._begin(final=True)
        reception, self._reception = self._reception, None
        assert reception is not None
        return self._ingest.end(reception)

    def abandon(self) -> None:
        """Leave nothing of it. One that has ended is not touched."""
        if self._reception is not None:
            self._ingest.abandon(self._reception)
            self._reception = None

    def _begin(self, *, final: bool) -> None:
        """Look at the header, and begin with the data set if enough of it is there."""
        while True:
            head = self._beginning(self._look_at)
            try:
                meta = read_meta(head)
                break
            except TruncatedDataSet:
                if self._look_at >= HEAD or (final and self._size <= self._look_at):
                    raise
                self._look_at *= 4
                if self._size < self._look_at and not final:
                    return
        if meta is None:
            raise NotAnInstance("not a DICOM file (PS3.10 §7.1), or a DICOMDIR")
        self.sop_class_uid, self.sop_instance_uid = identity(head, meta)
        if meta.transfer_syntax_uid not in uids.TRANSFER_SYNTAXES:
            raise UnsupportedTransferSyntax(f"transfer syntax {meta.transfer_syntax_uid} is not known here")
        self._reception = self._ingest.begin(
            transfer_syntax_uid=meta.transfer_syntax_uid,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            origin=self._origin,
            study_instance_uid=self._study_instance_uid,
        )
        skip = meta.data_set_offset
        for piece in self._head:
            if skip < len(piece):
                self._reception.write(piece[skip:], None)
            skip = max(0, skip - len(piece))
        self._head = []

    def _beginning(self, length: int) -> bytes:
        """The first bytes, at most `length` of them."""
        pieces = []
        for piece in self._head:
            pieces.append(piece[:length])
            length -= len(pieces[-1])
        return b"".join(pieces)


async def receive(ingest: Ingest, pieces: AsyncGenerator[bytes, None], origin: Origin) -> Taken:
    """Take in one file in whatever pieces it comes; they are closed in the end.

    Raises what `Arrival.write` and `Ingest.end` raise, and what the pieces do; then nothing of it is left.
    """
    arrival = Arrival(ingest, origin)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await arrival.write(piece)
        ending = arrival.end()
    finally:
        arrival.abandon()
    return await ending
