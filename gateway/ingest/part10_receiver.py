"""Receiving one DICOM file in pieces of any size: from an import, STOW-RS or the REST upload.

Its header identifies the instance and is then replaced by ours; its data set is streamed into the ingest. When it is
safe is decided in `ingest.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.dicom import uids
from gateway.errors import NotAnInstance, TruncatedDataSet, UnsupportedTransferSyntax
from gateway.index.store import Origin
from gateway.ingest.files import FIRST_READ_BYTES, MAX_HEAD_BYTES, identity, read_meta
from gateway.ingest.ingest import Ingest
from gateway.ingest.instance_writer import InstanceWriter
from gateway.ingest.outcome import StoreResult


class Part10Receiver:
    """Receives one file. `write` its bytes, then `end`; `abandon` it if its sender fails."""

    def __init__(self, ingest: Ingest, origin: Origin, *, study_instance_uid: str = "", patient: str = "") -> None:
        """`study_instance_uid` is the only study to which it may belong, `patient` the public id of the only patient;
        empty: any."""
        self._ingest = ingest
        self._origin = origin
        self._study_instance_uid = study_instance_uid
        self._patient = patient
        self._head: list[bytes | memoryview] = []
        self._size = 0
        self._scan_at = FIRST_READ_BYTES
        self._writer: InstanceWriter | None = None
        self.sop_class_uid = ""
        self.sop_instance_uid = ""
        """SOP class and instance of the file, once known; else empty."""

    async def write(self, data: bytes | memoryview) -> None:
        """Process the next bytes, which must not change; returns when more may be written.

        Raises: NotAnInstance; DataSetError if the header cannot be read; UnsupportedTransferSyntax; errors of
        `Ingest.begin`. After an error nothing more is accepted.
        """
        if self._writer is None:
            self._head.append(data)
            self._size += len(data)
            if self._size >= self._scan_at:
                self._begin(final=False)
        else:
            self._writer.write(data, None)
        if self._writer is not None:
            await self._writer.drained()

    def end(self) -> asyncio.Task[StoreResult]:
        """End the file; returns the task of `InstanceWriter.commit`. Raises as `write` does."""
        if self._writer is None:
            self._begin(final=True)
        writer, self._writer = self._writer, None
        assert writer is not None
        return writer.commit()

    def abandon(self) -> None:
        """Remove the file, unless it has ended."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _begin(self, *, final: bool) -> None:
        """Parse the header, and begin with the data set if enough of the header has arrived."""
        while True:
            head = self._beginning(self._scan_at)
            try:
                meta = read_meta(head)
                break
            except TruncatedDataSet:
                if self._scan_at >= MAX_HEAD_BYTES or (final and self._size <= self._scan_at):
                    raise
                self._scan_at *= 4
                if self._size < self._scan_at and not final:
                    return
        if meta is None:
            raise NotAnInstance("not a DICOM file (PS3.10 §7.1), or a DICOMDIR")
        self.sop_class_uid, self.sop_instance_uid = identity(head, meta)
        if meta.transfer_syntax_uid not in uids.TRANSFER_SYNTAXES:
            raise UnsupportedTransferSyntax(f"transfer syntax {meta.transfer_syntax_uid} is not known here")
        self._writer = self._ingest.begin(
            transfer_syntax_uid=meta.transfer_syntax_uid,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            origin=self._origin,
            study_instance_uid=self._study_instance_uid,
            patient=self._patient,
        )
        skip = meta.data_set_offset
        for piece in self._head:
            if skip < len(piece):
                self._writer.write(piece[skip:], None)
            skip = max(0, skip - len(piece))
        self._head = []

    def _beginning(self, length: int) -> bytes:
        """The first `length` bytes, or as many as there are."""
        pieces = []
        for piece in self._head:
            pieces.append(piece[:length])
            length -= len(pieces[-1])
        return b"".join(pieces)


async def receive(ingest: Ingest, pieces: AsyncGenerator[bytes, None], origin: Origin) -> StoreResult:
    """Ingest one file from its pieces, which are closed in the end.

    Raises as `Part10Receiver.write`, `InstanceWriter.commit` and `pieces`; then nothing of the file remains.
    """
    receiver = Part10Receiver(ingest, origin)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await receiver.write(piece)
        commit = receiver.end()
    finally:
        receiver.abandon()
    return await commit
