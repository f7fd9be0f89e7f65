"""One file sent to a modality without being stored here, as `POST /modalities/{id}/store-straight` asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.dicom import part10
from gateway.errors import AssociationLost, DataSetError, RequestFailed
from gateway.ingest.ingest import Ingest
from gateway.scu.node import Node
from gateway.scu.store import Item, send
from gateway.storage.scratch import Scratch


@dataclass(frozen=True, slots=True)
class _Kept:
    """A temporary file that outlives those who read it: it is read again where an association is lost."""

    scratch: Scratch

    @property
    def size(self) -> int:
        return self.scratch.size

    def read(self, offset: int, length: int) -> bytes:
        return self.scratch.read(offset, length)

    def close(self) -> None:
        """Nothing: who made the file closes it."""


async def send_straight(ingest: Ingest, node: Node, chunks: AsyncIterator[bytes]) -> tuple[str, str]:
    """Send the file that comes in chunks; its SOP Class and SOP Instance UID.

    It lies on the disk meanwhile. Raises DataSetError for what is no DICOM file with both UIDs, OutOfSpace,
    RequestFailed for a refusal, AssociationLost where the node was not reached.
    """
    scratch = await asyncio.to_thread(ingest.scratch)
    try:
        async for chunk in chunks:
            ingest.check_space()
            await asyncio.to_thread(scratch.append, [chunk])
        meta = await asyncio.to_thread(part10.read_header, scratch.read)
        if not meta.sop_class_uid or not meta.sop_instance_uid:
            raise DataSetError("File Meta Information names no SOP class or no SOP instance (PS3.10 §7.1)")
        item = Item(
            meta.sop_instance_uid,
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            lambda: _Kept(scratch),
            meta.data_set_offset,
            scratch.size,
        )
        (sent,) = await send(node, [item], associations=1)
    finally:
        await asyncio.to_thread(scratch.close)
    if sent.ok:
        return meta.sop_class_uid, meta.sop_instance_uid
    text = f"C-STORE SCU to {node}: {sent.detail}"
    raise RequestFailed(text, sent.status) if sent.status is not None else AssociationLost(text)
