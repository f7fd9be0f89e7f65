"""POST /instances, as in Orthanc: the upload of files, zips, and forms with files and zips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from aiohttp import web

from gateway.errors import DataSetError, InstanceRefused, NotAnInstance
from gateway.http.form import FORM, form_parts
from gateway.index.store import Origin
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.ingest.part10_receiver import receive
from gateway.ingest.zip_upload import Member, ingest_zip, is_zip
from gateway.web.accept import content_type
from gateway.web.auditing import uploaded
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.receiving import receiving
from gateway.web.rest.answers import json_answer, place
from gateway.web.route import Route

_BAD_FILE = (15, "Bad file format")
_CANNOT_UNDERSTAND = 0xC000
_NOTHING = dict.fromkeys(("ID", "ParentPatient", "ParentSeries", "ParentStudy", "Path"), "")
MAX_FILES: Final = 1000
"""Files of a zip or form that were not stored and that the answer lists, at most."""


async def upload(request: web.Request) -> web.Response:
    """Store a DICOM file, or all the DICOM files of a zip or form. The answer for a file is an object, else a list.

    The list has the outcome of each file, stored instances first. If none was stored, the answer is an error with
    `Files`.
    """
    made = _Upload(request)
    async with receiving(request) as chunks:
        media_type, parameters = content_type(request.headers.get("Content-Type", ""))
        if media_type == FORM:
            members = await made.form(chunks, parameters.get("boundary", ""))
            if not members:
                return error_answer(request, 400, "nothing was sent", orthanc=_BAD_FILE)
            return _answer(request, members, made.overwrites)
        beginning = await _beginning(chunks)
        try:
            if is_zip(beginning):
                return _answer(request, await made.zip(beginning, chunks), made.overwrites)
            result = await made.file(beginning, chunks)
            uploaded(request, (result.record.parents.study_instance_uid,))
            return json_answer(receipt(result, made.overwrites))
        except InstanceRefused as error:
            return refusal(request, error)
        except DataSetError as error:
            return error_answer(request, 400, str(error) if beginning else "nothing was sent", orthanc=_BAD_FILE)


def rest_origin(request: web.Request) -> Origin:
    """The origin of instances that come by a request of the management API."""
    return Origin.by_rest(request.app[CONTEXT].settings().dicom.aet, request.remote or "")


def refusal(request: web.Request, error: InstanceRefused) -> web.Response:
    """The answer for an instance that is refused."""
    status = 400 if error.status == _CANNOT_UNDERSTAND else 409
    return error_answer(request, status, str(error), orthanc=_BAD_FILE if status == 400 else None)


class _Upload:
    """What one request uploads."""

    def __init__(self, request: web.Request) -> None:
        context = request.app[CONTEXT]
        settings = context.settings()
        self._ingest: Ingest = context.use_cases.ingest
        self._limit = settings.dicomweb.max_upload
        self.overwrites = settings.storage.duplicates == "overwrite"
        self._origin = rest_origin(request)

    async def file(self, beginning: bytes, chunks: AsyncGenerator[bytes, None]) -> StoreResult:
        return await receive(self._ingest, _whole(beginning, chunks), self._origin)

    async def zip(self, beginning: bytes, chunks: AsyncGenerator[bytes, None]) -> list[Member]:
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
        """The outcome for each file in a form; a field without a file, as browsers send it, is none."""
        members: list[Member] = []
        async with aclosing(form_parts(chunks, boundary)) as parts:
            async for name, content in parts:
                beginning = await _beginning(content)
                try:
                    if is_zip(beginning):
                        members += await self.zip(beginning, content)
                    elif beginning:
                        members.append(Member(name, await self.file(beginning, content)))
                except NotAnInstance as error:
                    members.append(Member(name, None, str(error), is_dicom=False))
                except (InstanceRefused, DataSetError) as error:
                    members.append(Member(name, None, str(error)))
        return members


async def _beginning(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The first bytes, four at least, or all there are."""
    beginning = b""
    while len(beginning) < 4 and (chunk := await anext(chunks, b"")):
        beginning += chunk
    return beginning


async def _whole(beginning: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield beginning
    async for chunk in chunks:
        yield chunk


def _answer(request: web.Request, members: list[Member], overwrites: bool) -> web.Response:
    """The answer for many files: stored instances in the order in which they came, then refused files, then non-DICOM
    files.

    Files that were not stored have all the names too that clients of Orthanc expect.
    """
    results = [member.result for member in members if member.result is not None]
    uploaded(request, [result.record.parents.study_instance_uid for result in results])
    stored = [
        {**receipt(member.result, overwrites), "File": member.name} for member in members if member.result is not None
    ]
    others = [
        {**_NOTHING, "Status": status, "File": member.name, "Reason": member.reason}
        for is_dicom, status in ((True, "Failure"), (False, "NotDicom"))
        for member in members
        if member.result is None and member.is_dicom is is_dicom
    ]
    if others and not stored:
        details = f"none of the {len(others)} files was taken in; the first: {members[0].reason}"
        return error_answer(request, 400, details, orthanc=_BAD_FILE, more={"Files": others[:MAX_FILES]})
    return json_answer(stored + others[:MAX_FILES])


def receipt(taken: StoreResult, overwrites: bool) -> dict[str, str]:
    """The answer for one stored instance. Where Orthanc overwrites, it says Success of the same file again."""
    record = taken.record
    is_new = taken.outcome in (Outcome.STORED, Outcome.REPLACED) or overwrites
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
        "upload",
        body=("application/dicom", "application/zip", "application/octet-stream", FORM),
        errors=(409, 413, 503, 507),
        name="upload",
    ),
)
