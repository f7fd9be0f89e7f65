"""One file sent to a modality or peer without being stored here, as `POST …/{id}/store-straight` asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.config.destinations import PeerDestination
from gateway.dicom import part10
from gateway.dicom.json import NOT_JSON
from gateway.errors import AssociationLost, DataSetError, RequestFailed
from gateway.ingest.ingest import Ingest
from gateway.remote.http import Body, HttpClient, RequestBroken
from gateway.scu.node import Node
from gateway.scu.store import Item, send
from gateway.storage.scratch import Scratch

_PIECE: Final = 1 << 20
_POSTED: Final = {"Accept": "application/json", "Content-Type": "application/dicom"}


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
    async with _received(ingest, chunks) as scratch:
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
    if sent.ok:
        return meta.sop_class_uid, meta.sop_instance_uid
    text = f"C-STORE SCU to {node}: {sent.detail}"
    raise RequestFailed(text, sent.status) if sent.status is not None else AssociationLost(text)


async def post_straight(
    ingest: Ingest, name: str, section: PeerDestination, chunks: AsyncIterator[bytes]
) -> dict[str, Any]:
    """Send the file that comes in chunks to a peer; what the peer answers.

    It lies on the disk meanwhile. Raises OutOfSpace; DestinationUnavailable and RequestBroken where the peer was not
    reached, or did not take it.
    """
    async with _received(ingest, chunks) as scratch:
        client = HttpClient(name, section)
        try:
            body = Body(lambda: _pieces(scratch))
            reply = await client.request("POST", "/instances", body=body, headers=_POSTED)
        finally:
            await client.close()
    try:
        if reply.status == 200:
            return msgspec.json.decode(reply.body, type=dict[str, Any])
    except NOT_JSON:
        pass
    raise RequestBroken(f"{name} has not taken the file: {reply.words}")


@asynccontextmanager
async def _received(ingest: Ingest, chunks: AsyncIterator[bytes]) -> AsyncIterator[Scratch]:
    """A temporary file of all chunks, inside the context. Raises OutOfSpace."""
    scratch = await asyncio.to_thread(ingest.scratch)
    try:
        async for chunk in chunks:
            ingest.check_space()
            await asyncio.to_thread(scratch.append, [chunk])
        yield scratch
    finally:
        await asyncio.to_thread(scratch.close)


async def _pieces(scratch: Scratch) -> AsyncGenerator[bytes, None]:
    for at in range(0, scratch.size, _PIECE):
        yield await asyncio.to_thread(scratch.read, at, _PIECE)
