"""The page for uploading files, folders and zips, and the studies that have come of it.

`static/upload.js` sends each file by a request of its own; without scripts the form sends all of them by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from gateway.dicom.dictionary import KEYWORDS
from gateway.errors import BadRequest
from gateway.http.form import FORM
from gateway.index.resources import resource
from gateway.ingest.zip_upload import Member
from gateway.web.accept import content_type
from gateway.web.auditing import uploaded
from gateway.web.context import CONTEXT
from gateway.web.pages.frame import page_answer
from gateway.web.pages.reader import as_viewer, may, page_of
from gateway.web.receiving import receiving
from gateway.web.rest.answers import json_answer
from gateway.web.rest.asked import public_ids
from gateway.web.route import Parameter, Route
from gateway.web.schemas import PUBLIC_ID
from gateway.web.uploads import Upload, is_new
from gateway.web.urls import path_template

FileStatus = Literal["stored", "already", "refused", "not_dicom"]
STATUSES: Final[tuple[FileStatus, ...]] = ("stored", "already", "refused", "not_dicom")
MAX_LISTED: Final = 100
"""Refused files, and studies, that a page lists."""
_OCTETS: Final = ("application/octet-stream",)


@dataclass(frozen=True, slots=True)
class UploadedStudy:
    """A study of which something was uploaded; the names are empty for those who may not view it."""

    public_id: str
    name: str = ""
    patient_id: str = ""
    description: str = ""
    date: str = ""
    instances: int = 0
    """How many are here now."""
    url: str = ""


@dataclass(frozen=True, slots=True)
class UploadSummary:
    """The outcome of a form: how many files of each status, those that were refused, and the studies."""

    counts: dict[FileStatus, int]
    refused: Sequence[tuple[str, FileStatus, str]]
    """Name, status and reason."""
    studies: Sequence[UploadedStudy]
    study_count: int


def file_status(member: Member, overwrites: bool) -> FileStatus:
    """The status of one uploaded file."""
    if member.result is not None:
        return "stored" if is_new(member.result, overwrites) else "already"
    return "refused" if member.is_dicom else "not_dicom"


async def show(request: web.Request) -> web.Response:
    """The page for uploading."""
    return _page(request, None)


async def upload_form(request: web.Request) -> web.Response:
    """Store the files of a form, and show the outcome. Its origin is checked as for every change by a session."""
    made = Upload(request)
    members = await form_members(request, made)
    note_uploaded(request, members)
    statuses = [file_status(each, made.overwrites) for each in members]
    refused = [
        (each.name, status, each.reason) for each, status in zip(members, statuses, strict=True) if each.result is None
    ]
    studies = study_ids(members)
    counts = Counter(statuses)
    summary = UploadSummary(
        {status: counts[status] for status in STATUSES},
        refused[:MAX_LISTED],
        await _studies(request, studies[:MAX_LISTED]),
        len(studies),
    )
    return _page(request, summary)


async def upload_file(request: web.Request) -> web.Response:
    """Store a DICOM file, or the files of a zip, in the body: the status of each, and its study. A file that is
    refused is no error, so that a page can send many."""
    made = Upload(request)
    async with receiving(request) as chunks:
        members = await made.members("", chunks)
    note_uploaded(request, members)
    files = [
        {
            "File": each.name,
            "Reason": each.reason or (each.result.lacking if each.result is not None else ""),
            "Status": file_status(each, made.overwrites),
            "Study": each.result.record.parents.study_public_id if each.result is not None else "",
        }
        for each in members
    ]
    return json_answer({"Files": files})


async def summary(request: web.Request) -> web.Response:
    """The studies with these public ids, as rows for an open page."""
    ids = public_ids(request.query.getall("id", []))[:MAX_LISTED]
    values = {"studies": await _studies(request, ids), "study_count": len(ids)}
    return page_answer(request, "upload_studies.html", values)


async def form_members(request: web.Request, made: Upload) -> list[Member]:
    """Store the files of a form, whose body is not read yet. Raises: BadRequest if it is of another type."""
    async with receiving(request) as chunks:
        media_type, parameters = content_type(request.headers.get("Content-Type", ""))
        if media_type != FORM:
            raise BadRequest(f"the form cannot be read: its type is {media_type[:80]}, not {FORM}")
        return await made.form(chunks, parameters.get("boundary", ""))


def note_uploaded(request: web.Request, members: Iterable[Member]) -> None:
    """Note the studies of what was stored, for the audit log."""
    uploaded(request, [each.result.record.parents.study_instance_uid for each in members if each.result is not None])


def study_ids(members: Iterable[Member]) -> list[str]:
    """The public ids of the studies of what was stored, each once."""
    ids = [each.result.record.parents.study_public_id for each in members if each.result is not None]
    return list(dict.fromkeys(ids))


def _page(request: web.Request, outcome: UploadSummary | None) -> web.Response:
    page = path_template(request, "upload-page")
    values = {
        "file_url": path_template(request, "upload-file"),
        "listed": MAX_LISTED,
        "outcome": outcome,
        "page": page,
        "statuses": STATUSES,
        "summary_url": path_template(request, "upload-studies"),
    }
    return page_answer(request, "upload.html", values)


async def _studies(request: web.Request, ids: Sequence[str]) -> list[UploadedStudy]:
    if not may(request, "view"):
        return []
    found = []
    with as_viewer(request):
        for public_id in ids:
            study = await resource(request.app[CONTEXT].database, "study", public_id)
            if study is None:
                continue
            at = {name: study.attributes.get(KEYWORDS[name], "") for name in _SHOWN}
            found.append(
                UploadedStudy(
                    public_id,
                    at["PatientName"],
                    at["PatientID"],
                    at["StudyDescription"],
                    at["StudyDate"],
                    study.stamp.instances,
                    page_of(request, "study-page", public_id),
                )
            )
    return found


_SHOWN: Final = ("PatientName", "PatientID", "StudyDescription", "StudyDate")
_HTML: Final = ("text/html",)
_STORING: Final = (413, 503, 507)
ROUTES: Final = (
    Route("GET", "/ui/upload", show, "upload", answers=_HTML, name="upload-page"),
    Route("POST", "/ui/upload", upload_form, "upload", body=(FORM,), answers=_HTML, errors=_STORING),
    Route("POST", "/ui/upload/file", upload_file, "upload", body=_OCTETS, errors=_STORING, name="upload-file"),
    Route(
        *("GET", "/ui/upload/studies", summary, "upload"),
        (Parameter("id", "Public id of a study; may be repeated", PUBLIC_ID),),
        answers=_HTML,
        name="upload-studies",
        action="search",
    ),
)
