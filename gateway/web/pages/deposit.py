"""The page of an outsider, who has a link to upload to the inbox and sees nothing of the archive.

Whether a file was here already is not said. What comes gets a label, and no rule sends it on, until a person has
accepted it (`inbox.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.config.roles import DEPOSIT
from gateway.database.view import tenant_of_task
from gateway.http.form import FORM
from gateway.index.inbox import note_sender
from gateway.index.store import Origin
from gateway.ingest.outcome import Outcome
from gateway.ingest.zip_upload import Member
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.pages.frame import page_answer
from gateway.web.pages.upload import MAX_LISTED, STATUSES, UploadSummary, form_members, note_uploaded, study_ids
from gateway.web.receiving import receiving
from gateway.web.rest.answers import json_answer
from gateway.web.route import Route
from gateway.web.sessions import Forbidden
from gateway.web.uploads import Upload
from gateway.web.urls import path_template


async def show(request: web.Request) -> web.Response:
    """The page for uploading to the inbox."""
    return _page(request, None)


async def deposit_form(request: web.Request) -> web.Response:
    """Store the files of a form in the inbox, and show the outcome."""
    members = await form_members(request, _upload(request))
    await _note(request, members)
    counts = Counter(map(_status, members))
    refused = [(each.name, _status(each), each.reason) for each in members if each.result is None]
    outcome = UploadSummary({status: counts[status] for status in STATUSES}, refused[:MAX_LISTED], [], 0)
    return _page(request, outcome)


async def deposit_file(request: web.Request) -> web.Response:
    """Store a DICOM file, or the files of a zip, in the inbox: the status of each."""
    made = _upload(request)
    async with receiving(request) as chunks:
        members = await made.members("", chunks)
    await _note(request, members)
    files = [{"File": each.name, "Reason": each.reason, "Status": _status(each), "Study": ""} for each in members]
    return json_answer({"Files": files})


def check_kept(request: web.Request) -> None:
    """Check that no outsider can replace what is here. Raises: Forbidden."""
    if request.app[CONTEXT].settings().storage.duplicates == "overwrite":
        raise Forbidden("there is no inbox while storage.duplicates is overwrite: outsiders could replace what is here")


def _upload(request: web.Request) -> Upload:
    check_kept(request)
    aet = request.app[CONTEXT].settings().dicom.aet
    link = request.get(PRINCIPAL, ANYBODY).upload_link
    return Upload(request, Origin.by_inbox(aet, request.remote or "", tenant_of_task(), link))


def _status(member: Member) -> Any:
    if member.result is not None:
        return "stored"
    return "refused" if member.is_dicom else "not_dicom"


async def _note(request: web.Request, members: Sequence[Member]) -> None:
    note_uploaded(request, members)
    stored = [each for each in members if each.result is not None and each.result.outcome is Outcome.STORED]
    sender, database = request.get(PRINCIPAL, ANYBODY).name, request.app[CONTEXT].database
    for study in study_ids(stored):
        await database.write(lambda study=study: note_sender(study, sender))  # type: ignore[misc]


def _page(request: web.Request, outcome: UploadSummary | None) -> web.Response:
    values = {
        "file_url": path_template(request, "deposit-file"),
        "listed": MAX_LISTED,
        "outcome": outcome,
        "page": path_template(request, "deposit-page"),
        "pages": [],
        "statuses": [status for status in STATUSES if status != "already"],
        "summary_url": "",
        "user": "",
    }
    return page_answer(request, "deposit.html", values)


_HTML: Final = ("text/html",)
_STORING: Final = (403, 413, 503, 507)
ROUTES: Final = (
    Route("GET", "/ui/deposit", show, DEPOSIT, answers=_HTML, name="deposit-page"),
    Route("POST", "/ui/deposit", deposit_form, DEPOSIT, body=(FORM,), answers=_HTML, errors=_STORING, action="upload"),
    Route(
        *("POST", "/ui/deposit/file", deposit_file, DEPOSIT),
        body=("application/octet-stream",),
        errors=_STORING,
        name="deposit-file",
        action="upload",
    ),
)
