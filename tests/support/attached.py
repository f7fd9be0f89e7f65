"""Attachments in an archive without web."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import closing

from gateway.dicom.levels import Level
from gateway.index.attachments import Attachment
from gateway.ingest.attaching import Attaching
from gateway.ingest.ingest import Ingest
from gateway.storage.store import Store


async def attach(ingest: Ingest, level: Level, public_id: str, name: str, data: bytes) -> Attachment:
    """Attach bytes that come in pieces."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]

    return await Attaching(ingest).attach(level, public_id, name, pieces())


def read(store: Store, attachment: Attachment) -> bytes:
    """The attached bytes as they are stored."""
    with closing(store.open(attachment.key)) as file:
        return file.read(attachment.data_offset, file.size)
