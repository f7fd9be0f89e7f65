"""POST /instances, as in Orthanc: the upload of files and zips."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import web

from gateway.errors import DataSetError, InstanceRefused
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.ingest.part10_receiver import receive
from gateway.ingest.zip_upload import Member, ingest_zip, is_zip
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.receiving import receiving
from gateway.web.rest.answers import json_answer, place
from gateway.web.route import Route

_BAD_FILE = (15, "Bad file format")
_CANNOT_UNDERSTAND = 0xC000
_NOTHING = dict.fromkeys(("ID", "ParentPatient", "ParentSeries", "ParentStudy", "Path"), "")
MAX_FILES: Final = 1000
"""Files of a zip that were not stored and that the answer lists, at most."""


async def upload(request: web.Request) -> web.Response:
    """Store a DICOM file, or all the DICOM files of a zip. The answer for a file is an object, for a zip a list.

    The list has the outcome of each file, stored instances first. If none was stored, the answer is an error with
    `Files`.
    """
    context = request.app[CONTEXT]
    settings = context.settings()
    origin = Origin(
        calling_aet="",
        called_aet=settings.dicom.aet,
        peer=request.remote or "",
        received_at=time.time(),
        via="rest",
    )
    async with receiving(request) as chunks:
        beginning = b""
        while len(beginning) < 4 and (chunk := await anext(chunks, b"")):
            beginning += chunk
        try:
            if is_zip(beginning):
                limit = settings.dicomweb.max_upload
                return _answer(request, await _zip(context.use_cases.ingest, beginning, chunks, origin, limit))
            return json_answer(_receipt(await receive(context.use_cases.ingest, _whole(beginning, chunks), origin)))
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
) -> list[Member]:
    scratch = await asyncio.to_thread(ingest.scratch)
    try:
        await asyncio.to_thread(scratch.append, [beginning])
        async for chunk in chunks:
            ingest.check_space()
            await asyncio.to_thread(scratch.append, [chunk])
        return await ingest_zip(ingest, scratch, origin, limit)
    finally:
        await asyncio.to_thread(scratch.close)


def _answer(request: web.Request, members: list[Member]) -> web.Response:
    """The answer for a zip: stored instances in the order of the zip, then refused files, then non-DICOM files.

    Files that were not stored have all the names too that clients of Orthanc expect.
    """
    stored = [{**_receipt(member.result), "File": member.name} for member in members if member.result is not None]
    others = [
        {**_NOTHING, "Status": status, "File": member.name, "Reason": member.reason}
        for is_dicom, status in ((True, "Failure"), (False, "NotDicom"))
        for member in members
        if member.result is None and member.is_dicom is is_dicom
    ]
    if others and not stored:
        details = f"none of the {len(others)} files of the zip was taken in; the first: {members[0].reason}"
        return error_answer(request, 400, details, orthanc=_BAD_FILE, more={"Files": others[:MAX_FILES]})
    return json_answer(stored + others[:MAX_FILES])


def _receipt(taken: StoreResult) -> dict[str, str]:
    record = taken.record
    is_new = taken.outcome in (Outcome.STORED, Outcome.REPLACED)
    return {
        "ID": record.public_id,
        "ParentPatient": record.parents.patient_public_id,
        "ParentSeries": record.parents.series_public_id,
        "ParentStudy": record.parents.study_public_id,
        "Path": place("Instance", record.public_id),
        "Status": "Success" if is_new else "AlreadyStored",
        **({"Incomplete": taken.lacking} if taken.lacking else {}),
    }


ROUTES = (
    Route(
        "POST",
        "/instances",
        upload,
        body=("application/dicom", "application/zip", "application/octet-stream"),
        errors=(409, 413, 503, 507),
        name="upload",
    ),
)
