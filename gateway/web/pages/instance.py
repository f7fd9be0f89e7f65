"""The page of an instance: its picture, document, report, video or ECG, its attributes, and how it is stored.

The table of attributes is a page of rows with a search; `static/instance.js` fetches its parts as one types or opens
more, and without scripts its form and links do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from aiohttp import web

from gateway.dicom.uids import name_of
from gateway.errors import DataSetError, UnknownResource
from gateway.imaging.pixels import VIDEO
from gateway.index.attachments import attachments_of
from gateway.index.locate import Located
from gateway.render.cda import MAX_CDA_BYTES, CdaLine, read_cda
from gateway.render.ecg import WAVEFORMS
from gateway.render.report import Report, read_report
from gateway.retrieve.tag_tree import TagTree, read_header_tags, read_tags
from gateway.storage.store import StoredObject
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.documents import CDA, DOCUMENTS, REPORTS, document_bytes
from gateway.web.dicomweb.resources import RENDERER, RETRIEVAL
from gateway.web.inputs import whole_number
from gateway.web.pages.documents import shown_document
from gateway.web.pages.frame import page_answer
from gateway.web.pages.lineage import lineage
from gateway.web.pages.resource_forms import form_values
from gateway.web.pages.tag_rows import TagPage, tag_page
from gateway.web.pages.views import START, ViewStart, view_values
from gateway.web.rest.instance_files import located
from gateway.web.rest.resource_metadata import own_and_added
from gateway.web.route import COUNT, TEXT, Parameter, Route
from gateway.web.urls import PATIENT, ObjectUrl, path_template, path_to

MAX_REPORT_LINES: Final = 2000
"""Lines of a report on the page; a longer one has a page of its own."""
_MAX_SEARCH_LENGTH: Final = 100

Form = Literal["image", "video", "document", "report", "waveform", "none"]


async def instance(request: web.Request) -> web.Response:
    """The page of an instance."""
    public_id, start, wanted = request.match_info["id"], ViewStart.of(request), _WantedRows.of(request)
    line = await lineage(request, "instance", public_id)
    resource, found = line[-1].resource, await _located(request)
    form, problem, frames = await _form(request, found)
    database = request.app[CONTEXT].database
    rendered = ObjectUrl(*(path_template(request, f"{root}rendered") for root in ("", PATIENT)))
    uids = {"study": found.study_uid, "series": found.series_uid, "instance": found.sop_uid}
    (metadata,) = await own_and_added(database, [resource])
    values: dict[str, Any] = {
        **view_values(
            request, line, [(public_id, frames, resource.number)] if form == "image" else [], start, public_id
        ),
        **await form_values(request, "instance", resource),
        **await _tag_values(request, found, wanted),
        "attachments": await attachments_of(database, "instance", public_id),
        "attachment_url": path_template(request, "instance-attachment"),
        "file_url": path_to(request, "instance-file", id=public_id),
        "cda": await _cda(request, found) if found.sop_class_uid == CDA else [],
        "form": form,
        "found": found,
        "frames": frames,
        "line": line,
        "document": await shown_document(request, found) if form == "document" else None,
        "metadata": metadata,
        "problem": problem,
        "rendered_url": rendered.of(found.clashing_patient, **uids),
        "report": await _report(request, found) if form == "report" else None,
        "max_report_lines": MAX_REPORT_LINES,
        "sop_class": name_of(found.sop_class_uid),
        "syntax": name_of(found.transfer_syntax_uid),
        "waveform_url": path_to(request, "instance-waveform", id=public_id),
    }
    return page_answer(request, "instance.html", values)


async def tags(request: web.Request) -> web.Response:
    """The rows of attributes alone, for an open page. The query is that of the page."""
    wanted = _WantedRows.of(request)
    return page_answer(request, "tags.html", await _tag_values(request, await _located(request), wanted))


class _WantedRows(NamedTuple):
    """The rows of the table of attributes that the query names."""

    search: str
    first: int

    @classmethod
    def of(cls, request: web.Request) -> _WantedRows:
        search = request.query.get("search", "").strip()[:_MAX_SEARCH_LENGTH]
        return cls(search, whole_number(request.query.get("from", "")) or 0)


async def _located(request: web.Request) -> Located:
    found = await located(request)
    if found is None:
        raise UnknownResource(f"there is no instance {request.match_info['id'][:64]}")
    return found


async def _form(request: web.Request, found: Located) -> tuple[Form, str, int]:
    """What is shown of an instance; for what is no picture, why; and how many frames it has."""
    if found.transfer_syntax_uid in VIDEO:
        return "video", "", 0
    if found.sop_class_uid in DOCUMENTS:
        return "document", "", 0
    if found.sop_class_uid.startswith(REPORTS):
        return "report", "", 0
    if found.sop_class_uid.startswith(WAVEFORMS):
        return "waveform", "", 0
    try:
        return "image", "", await request.app[RENDERER].frames(found)
    except DataSetError as error:
        return "none", str(error), 0


async def _report(request: web.Request, found: Located) -> Report | None:
    """The report that an instance is; None where it cannot be read."""

    def read(stored: StoredObject, one: Located) -> Report:
        return read_report(stored.read, one.data_set_offset, one.size, one.transfer_syntax_uid)

    try:
        (made,) = await request.app[RETRIEVAL].map([found], read)
    except DataSetError:
        return None
    return made


async def _cda(request: web.Request, found: Located) -> list[CdaLine]:
    """The narrative of the CDA document in an instance; nothing where it cannot be read."""

    def read(stored: StoredObject, one: Located) -> list[CdaLine]:
        return read_cda(document_bytes(stored, one, MAX_CDA_BYTES))

    try:
        (made,) = await request.app[RETRIEVAL].map([found], read)
    except DataSetError:
        return []
    return made


async def _tag_values(request: web.Request, found: Located, wanted: _WantedRows) -> Mapping[str, Any]:
    """The values of the table of attributes."""
    public_id = request.match_info["id"]

    def read(stored: StoredObject, one: Located) -> tuple[TagPage, str]:
        trees: list[TagTree] = [read_header_tags(stored.read)]
        try:
            trees.append(read_tags(stored, one, behind_pixels=True))
        except DataSetError as error:
            return tag_page(trees, *wanted), str(error)
        return tag_page(trees, *wanted), ""

    ((page, problem),) = await request.app[RETRIEVAL].map([found], read)
    return {
        "tag_page": page,
        "tags_problem": problem,
        "tags_search": wanted.search,
        "tags_url": path_to(request, "instance-tags", id=public_id),
        "page_url": path_to(request, "instance-page", id=public_id),
    }


_TAGS: Final = (
    Parameter("search", "Part of a tag, keyword or value", TEXT, "PatientName"),
    Parameter("from", "Number of the first row, from 0", COUNT, "0"),
)

ROUTES = (
    Route(
        "GET",
        "/ui/instances/{id}",
        instance,
        "view",
        (
            *_TAGS,
            *START,
        ),
        answers=("text/html",),
        errors=(404,),
        name="instance-page",
    ),
    Route(
        "GET",
        "/ui/instances/{id}/tags",
        tags,
        "view",
        _TAGS,
        answers=("text/html",),
        errors=(404,),
        name="instance-tags",
    ),
)
