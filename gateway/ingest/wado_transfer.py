"""Retrieval of one resource from a DICOMweb server (WADO-RS, PS3.18 §10.4) into the ingest, part by part as it
arrives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from email.message import Message
from typing import Final

from gateway.database.view import tenant_of_task
from gateway.errors import DataSetError, InstanceRefused, PermanentFailure
from gateway.http.multipart import Head, Parser, Tail
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.part10_receiver import Part10Receiver
from gateway.remote.http import HttpClient

_DICOM: Final = "application/dicom"
_ACCEPT: Final = {"Accept": f'multipart/related; type="{_DICOM}"; transfer-syntax=*'}
_LEVELS: Final = ("studies", "series", "instances")


class WadoTransfer:
    """One resource on its way in."""

    def __init__(self, ingest: Ingest, host: str, our_aet: str, stored: Callable[[], Awaitable[None]]) -> None:
        """`stored` is called after each instance that has been stored."""
        self._ingest = ingest
        self._host = host
        self._our_aet = our_aet
        self._stored = stored
        self._receiver: Part10Receiver | None = None
        """The receiver of the part that is arriving; None between parts, and once the part is refused."""
        self._refused = 0
        self._reason = ""
        """Why the first instance was refused."""
        self.received_bytes = 0
        """Bytes of the answer so far."""

    async def retrieve(self, client: HttpClient, uids: Sequence[str]) -> None:
        """Ask for a resource, and store what comes. Raises PermanentFailure where something of it is not stored."""
        path = "".join(f"/{level}/{uid}" for level, uid in zip(_LEVELS, uids, strict=False))
        try:
            reply = await client.request("GET", path, headers=_ACCEPT, missing=True, take=self._take)
        finally:
            self._abandon()
        if reply.status != 200:
            raise PermanentFailure(f"{client.name}{path}: {reply.words}")
        if self._refused:
            raise PermanentFailure(
                f"{client.name}{path}: {self._refused} instances were not stored; the first: {self._reason}"
            )

    async def _take(self, media_type: str, chunks: AsyncGenerator[bytes, None]) -> None:
        parser = Parser(_boundary(media_type))
        async for chunk in chunks:
            self.received_bytes += len(chunk)
            for event in parser.feed(chunk):
                await self._part(event)
        for event in parser.close():
            await self._part(event)

    async def _part(self, event: Head | Tail | memoryview) -> None:
        try:
            match event:
                case Head():
                    origin = Origin.by_rest(self._our_aet, self._host, tenant_of_task())
                    self._receiver = Part10Receiver(self._ingest, origin)
                case Tail():
                    if self._receiver is not None:
                        await self._receiver.end()
                        await self._stored()
                case _:
                    if self._receiver is not None:
                        await self._receiver.write(event)
        except (InstanceRefused, DataSetError) as error:
            self._abandon()
            self._refused += 1
            self._reason = self._reason or str(error)

    def _abandon(self) -> None:
        if self._receiver is not None:
            self._receiver.abandon()
            self._receiver = None


def _boundary(media_type: str) -> str:
    """The boundary of a multipart body. Raises DataSetError for any other, such as the page of a login."""
    message = Message()
    message["Content-Type"] = media_type
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or not boundary:
        raise DataSetError(f"it answers {media_type[:80] or 'nothing that has a type'}, not multipart/related")
    return boundary
