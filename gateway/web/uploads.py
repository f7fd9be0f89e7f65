"""Storing what one request uploads: a file, a zip, or a form with files and zips; the outcome of each file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from gateway.database.view import tenant_of_task
from gateway.errors import DataSetError, InstanceRefused, NotAnInstance
from gateway.http.form import form_parts
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.ingest.part10_receiver import receive
from gateway.ingest.zip_upload import Member, ingest_zip, is_zip
from gateway.web.context import CONTEXT


def rest_origin(request: web.Request) -> Origin:
    """The origin of instances that come by a request of the management API."""
    return Origin.by_rest(request.app[CONTEXT].settings().dicom.aet, request.remote or "", tenant_of_task())


class Upload:
    """Stores what one request uploads."""

    def __init__(self, request: web.Request, origin: Origin | None = None) -> None:
        """`origin` is that of a request of the management API, unless it is given."""
        context = request.app[CONTEXT]
        settings = context.settings()
        self._ingest: Ingest = context.use_cases.ingest
        self._limit = settings.dicomweb.max_upload
        self.overwrites = settings.storage.duplicates == "overwrite"
        self._origin = origin or rest_origin(request)

    async def file(self, beginning: bytes, chunks: AsyncGenerator[bytes, None]) -> StoreResult:
        """Store a DICOM file. Raises: InstanceRefused, DataSetError."""
        return await receive(self._ingest, _whole(beginning, chunks), self._origin)

    async def zip(self, beginning: bytes, chunks: AsyncGenerator[bytes, None]) -> list[Member]:
        """Store the DICOM files of a zip."""
        scratch = await asyncio.to_thread(self._ingest.scratch)
        try:
            await asyncio.to_thread(scratch.append, [beginning])
            async for chunk in chunks:
                self._ingest.check_space()
                await asyncio.to_thread(scratch.append, [chunk])
            return await ingest_zip(self._ingest, scratch, self._origin, self._limit)
        finally:
            await asyncio.to_thread(scratch.close)

    async def form(self, chunks: AsyncGenerator[bytes, None], boundary: str) -> list[Member]:
        """Store the files in a form; a field without a file, as browsers send it, is none."""
        members: list[Member] = []
        async with aclosing(form_parts(chunks, boundary)) as parts:
            async for name, content in parts:
                members += await self.members(name, content)
        return members

    async def members(self, name: str, chunks: AsyncGenerator[bytes, None]) -> list[Member]:
        """Store a file or the files of a zip; without any bytes there is none."""
        beginning = await first_bytes(chunks)
        try:
            if is_zip(beginning):
                return await self.zip(beginning, chunks)
            return [Member(name, await self.file(beginning, chunks))] if beginning else []
        except NotAnInstance as error:
            return [Member(name, None, str(error), is_dicom=False)]
        except (InstanceRefused, DataSetError) as error:
            return [Member(name, None, str(error))]


def is_new(result: StoreResult, overwrites: bool) -> bool:
    """Whether an instance counts as stored: where Orthanc overwrites, it says Success of the same file again."""
    return result.outcome in (Outcome.STORED, Outcome.REPLACED) or overwrites


async def first_bytes(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The first bytes of a body, four at least, or all there are."""
    beginning = b""
    while len(beginning) < 4 and (chunk := await anext(chunks, b"")):
        beginning += chunk
    return beginning


async def _whole(beginning: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield beginning
    async for chunk in chunks:
        yield chunk
