"""The forms for notes, files and protection on the pages of studies and patients. They need no scripts.

Notes are saved over those that the page has shown alone: neither what somebody else has written meanwhile is lost, nor
what was typed.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from aiohttp import web

from gateway.errors import BadRequest, NotFound, PreconditionFailed, RevisionConflict, UnknownResource
from gateway.http.form import FORM, form_parts
from gateway.index.annotations import MAX_METADATA_BYTES, protect, remove_metadata, set_metadata
from gateway.index.attachments import attachment
from gateway.index.precondition import Precondition
from gateway.web.accept import content_type
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form
from gateway.web.pages.frame import page_answer
from gateway.web.pages.lineage import lineage
from gateway.web.pages.study import NOTES, study_page
from gateway.web.pages.wording import reader_words
from gateway.web.receiving import receiving
from gateway.web.rest.attachments import OWN
from gateway.web.rest.user_names import MAX_NAME_LENGTH, is_users, not_users
from gateway.web.route import Parameter, Route
from gateway.web.sessions import CSRF_FIELD, Forbidden, check_form
from gateway.web.urls import local_page, path_to

_MAX_FIELD_BYTES: Final = 1024
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9_.-]+")


async def save_notes(request: web.Request) -> web.StreamResponse:
    """Save the notes of a study, over those that the form began with; without text, remove them."""
    form, public_id = await read_form(request), request.match_info["id"]
    check_form(request, form)
    # Browsers send lines that end in CR LF (HTML, 4.10.22.4).
    text, tag = form.get("notes", "").replace("\r\n", "\n").strip(), form.get("tag", "")
    if len(text.encode()) > MAX_METADATA_BYTES or "\0" in text:
        raise BadRequest(f"notes are at most {MAX_METADATA_BYTES} bytes of text without NUL")
    condition = Precondition(matches=(tag,)) if tag else Precondition(absent=True)
    database, now = request.app[CONTEXT].database, time.time()
    try:
        if text:
            await database.write(lambda: set_metadata("study", public_id, NOTES, text, condition, now))
        elif tag:
            await database.write(lambda: remove_metadata("study", public_id, NOTES, condition, now))
    except UnknownResource:
        raise
    except (NotFound, RevisionConflict, PreconditionFailed):
        answer = await study_page(request, public_id, typed=text)
        answer.set_status(409)
        return answer
    raise web.HTTPSeeOther(f"{path_to(request, 'study-page', id=public_id)}#notes")


async def attach_file(request: web.Request) -> web.StreamResponse:
    """Attach the file of a form to a study, under its name as far as that may be one. Nothing is replaced."""
    context, public_id = request.app[CONTEXT], request.match_info["id"]
    async with receiving(request, context.settings().rest.max_attachment, "rest.max_attachment") as chunks:
        media_type, parameters = content_type(request.headers.get("Content-Type", ""))
        if media_type != FORM:
            raise BadRequest(f"the form cannot be read: its type is {media_type[:80]}, not {FORM}")
        async with aclosing(form_parts(chunks, parameters.get("boundary", ""))) as parts:
            token = ""
            async for name, content in parts:
                if name == CSRF_FIELD and not token:
                    token = await _field(content)
                    continue
                check_form(request, {CSRF_FIELD: token})
                if not name:
                    raise BadRequest("no file is chosen")
                absent = Precondition(absent=True)
                await context.use_cases.attaching.attach("study", public_id, attached_name(name), content, absent)
                raise web.HTTPSeeOther(f"{path_to(request, 'study-page', id=public_id)}#attachments")
    raise BadRequest("the form has no file")


def attached_name(file_name: str) -> str:
    """The name of an attachment for that of a file: what no such name may have becomes a hyphen, and the end stays,
    which says what kind of file it is."""
    name = _UNUSUAL.sub("-", file_name.rpartition("\\")[2]).lstrip("-_.")[-MAX_NAME_LENGTH:].lstrip("-_.")
    return name if is_users(name, OWN) else f"file-{name}"[:MAX_NAME_LENGTH]


async def ask_removal(request: web.Request) -> web.Response:
    """Ask whether an attached file is to be removed."""
    public_id, name, t = request.match_info["id"], request.query.get("name", ""), reader_words(request)
    found = await attachment(request.app[CONTEXT].database, "study", public_id, name)
    values = {
        "act_url": path_to(request, "study-file-removal", id=public_id),
        "button": t("study.remove"),
        "fields": {"name": found.name},
        "items": [t.size(found.size)],
        "line": await lineage(request, "study", public_id),
        "page_url": path_to(request, "study-page", id=public_id),
        "title": t("study.remove_question", name=found.name),
    }
    return page_answer(request, "question.html", values)


async def remove_file(request: web.Request) -> web.StreamResponse:
    """Remove an attached file."""
    form, public_id = await read_form(request), request.match_info["id"]
    check_form(request, form)
    name = form.get("name", "")
    if not is_users(name, OWN):
        raise Forbidden(not_users("attachment", name))
    await request.app[CONTEXT].use_cases.attaching.detach("study", public_id, name)
    raise web.HTTPSeeOther(f"{path_to(request, 'study-page', id=public_id)}#attachments")


async def protect_patient(request: web.Request) -> web.StreamResponse:
    """Protect a patient, or no longer, and lead back to the page of the form."""
    form, public_id, database = await read_form(request), request.match_info["id"], request.app[CONTEXT].database
    check_form(request, form)
    wanted = form.get("protected", "")
    if wanted not in ("0", "1"):
        raise BadRequest("protected is 0 or 1")
    await database.write(lambda: protect(public_id, wanted == "1"))
    raise web.HTTPSeeOther(local_page(request, form.get("next", "")))


async def _field(content: AsyncGenerator[bytes, None]) -> str:
    text = b""
    async for chunk in content:
        text += chunk
        if len(text) > _MAX_FIELD_BYTES:
            raise BadRequest("a field of the form is too long")
    return text.decode("utf-8", "replace")


_FORM: Final = ("application/x-www-form-urlencoded",)
_HTML: Final = ("text/html",)
_NAME: Final = Parameter("name", "Name of an attached file", example="letter.txt", required=True)
ROUTES = (
    Route(
        *("POST", "/ui/studies/{id}/notes", save_notes, "modify"),
        body=_FORM,
        leads_on=True,
        errors=(404, 409),
        name="study-notes",
    ),
    Route(
        *("POST", "/ui/studies/{id}/files", attach_file, "modify"),
        body=(FORM,),
        leads_on=True,
        errors=(404, 412, 413, 503, 507),
        name="study-files",
    ),
    Route(
        *("GET", "/ui/studies/{id}/files/remove", ask_removal, "modify", (_NAME,)),
        answers=_HTML,
        errors=(404,),
        action="view",
    ),
    Route(
        *("POST", "/ui/studies/{id}/files/remove", remove_file, "modify"),
        body=_FORM,
        leads_on=True,
        errors=(403, 404),
        name="study-file-removal",
    ),
    Route(
        *("POST", "/ui/patients/{id}/protected", protect_patient, "edit-labels"),
        body=_FORM,
        leads_on=True,
        errors=(404,),
        name="patient-protection",
    ),
)
