"""POST /instances, as Orthanc has it: the upload of files and zips."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from gateway.archive.arrival import receive
from gateway.archive.ingest import Ingest, Outcome, Taken
from gateway.archive.zips import is_zip, take_in_zip
from gateway.errors import DataSetError, InstanceRefused
from gateway.index.store import Origin
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.receiving import TURNS, body
from gateway.web.rest.answers import json_answer, place

_BAD_FILE = (15, "Bad file format")
_CANNOT_UNDERSTAND = 0xC000


async def upload(request: web.Request) -> web.Response:
    """Store a DICOM file, or all those in a zip. The answer is an object for a file, and a list for a zip."""
    context = request.app[CONTEXT]
    settings = context.settings()
    origin = Origin(
        calling_aet="",
        called_aet=settings.dicom.aet,
        peer=request.remote or "",
        received_at=time.time(),
        via="rest",
    )
    async with request.app[TURNS].turn(), aclosing(body(request)) as chunks:
        beginning = b""
        while len(beginning) < 4 and (chunk := await anext(chunks, b"")):
            beginning += chunk
        try:
            if is_zip(beginning):
                return json_answer(await _zip(context.ingest, beginning, chunks, origin, settings.dicomweb.max_upload))
            return json_answer(_receipt(await receive(context.ingest, _whole(beginning, chunks), origin)))
        except InstanceRefused as error:
            status = 400 if error.status == _CANNOT_UNDERSTAND else 409
            return error_answer(request, status, str(error), orthanc=_BAD_FILE if status == 400 else None)
        except DataSetError as error:
            return error_answer(request, 400, str(error) if beginning else "nothing was sent", orthanc=_BAD_FILE)


async def _whole(beginning: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield beginning
    async for chunk in chunks:
        yield chunk


async def _zip(
    ingest: Ingest, beginning: bytes, chunks: AsyncGenerator[bytes, None], origin: Origin, limit: int
) -> list[dict[str, str]]:
    scratch = await asyncio.to_thread(ingest.scratch)
    try:
        await asyncio.to_thread(scratch.append, [beginning])
        async for chunk in chunks:
            ingest.check_space()
            await asyncio.to_thread(scratch.append, [chunk])
        return await take_in_zip(ingest, scratch, origin, limit, _receipt)
    finally:
        await asyncio.to_thread(scratch.close)


def _receipt(taken: Taken) -> dict[str, str]:
    record = taken.record
    is_new = taken.outcome in (Outcome.STORED, Outcome.REPLACED)
    return {
        "ID": record.public_id,
        "ParentPatient": record.parents.patient_public_id,
        "ParentSeries": record.parents.series_public_id,
        "ParentStudy": record.parents.study_public_id,
        "Path": place("Instance", record.public_id),
        "Status": "Success" if is_new else "AlreadyStored",
    }
