"""POST /instances, as in Orthanc: the upload of files, zips, and forms with files and zips."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.errors import DataSetError, InstanceRefused
from gateway.http.form import FORM
from gateway.ingest.outcome import StoreResult
from gateway.ingest.zip_upload import Member, is_zip
from gateway.web.accept import content_type
from gateway.web.auditing import uploaded
from gateway.web.errors import error_answer
from gateway.web.receiving import receiving
from gateway.web.rest.answers import json_answer, place
from gateway.web.route import Route
from gateway.web.uploads import Upload, first_bytes, is_new

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
    made = Upload(request)
    async with receiving(request) as chunks:
        media_type, parameters = content_type(request.headers.get("Content-Type", ""))
        if media_type == FORM:
            members = await made.form(chunks, parameters.get("boundary", ""))
            if not members:
                return error_answer(request, 400, "nothing was sent", orthanc=_BAD_FILE)
            return _answer(request, members, made.overwrites)
        beginning = await first_bytes(chunks)
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


def refusal(request: web.Request, error: InstanceRefused) -> web.Response:
    """The answer for an instance that is refused."""
    status = 400 if error.status == _CANNOT_UNDERSTAND else 409
    return error_answer(request, status, str(error), orthanc=_BAD_FILE if status == 400 else None)


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
    """The answer for one stored instance."""
    record = taken.record
    return {
        "ID": record.public_id,
        "ParentPatient": record.parents.patient_public_id,
        "ParentSeries": record.parents.series_public_id,
        "ParentStudy": record.parents.study_public_id,
        "Path": place("Instance", record.public_id),
        "Status": "Success" if is_new(taken, overwrites) else "AlreadyStored",
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
