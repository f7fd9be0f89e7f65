"""The document of an instance on its page: a PDF as pictures of its pages, a model as a file to save.

A browser shows a PDF in a viewer of its own, which the policy of our pages does not let in. Pictures need none, and
nothing of the document is active in them. `render/pdf.py` draws them, in a process of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from gateway import __version__
from gateway.errors import DataSetError, Overloaded
from gateway.index.locate import Located
from gateway.render.pdf import MAX_PDF_BYTES, WORK_BYTES, PdfOutline, draw_page, outline_of, read_outline
from gateway.render.picture import PNG
from gateway.storage.store import StoredObject
from gateway.web.conditional import entity_tag, unchanged, validators
from gateway.web.dicomweb.documents import DOCUMENTS, PDF, document_bytes, document_pieces
from gateway.web.dicomweb.resources import RENDERER, RETRIEVAL
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import unknown
from gateway.web.rest.instance_files import located
from gateway.web.rest.pictures import unsupported
from gateway.web.route import Route
from gateway.web.urls import path_to

_MODELS: Final = "model/"


@dataclass(frozen=True, slots=True)
class PagePicture:
    """The picture of a page; its size is in pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ShownDocument:
    """A document as the page of its instance shows it."""

    media_type: str
    size: int = 0
    """Bytes."""
    count: int = 0
    """Pages, of which `pages` has the first; 0 where they are not known."""
    pages: list[PagePicture] = field(default_factory=list)
    problem: str = ""
    """Why its pages cannot be shown."""

    @property
    def is_model(self) -> bool:
        """Whether it is a model in space, or the materials of one."""
        return self.media_type.startswith(_MODELS)


async def shown_document(request: web.Request, found: Located) -> ShownDocument:
    """The document of an instance. What cannot be read has a problem, and no pages."""
    media_type, public_id = DOCUMENTS[found.sop_class_uid], request.match_info["id"]
    try:
        (pieces,) = await request.app[RETRIEVAL].map([found], document_pieces)
        size = sum(length for _, length in pieces)
        if found.sop_class_uid != PDF:
            return ShownDocument(media_type, size)
        outline = await _outline(request, found)
    except (DataSetError, Overloaded) as error:
        return ShownDocument(media_type, problem=str(error))
    pages = [
        PagePicture(path_to(request, "document-page", id=public_id, page=str(number)), width, height)
        for number, (width, height) in enumerate(outline.sizes, 1)
    ]
    return ShownDocument(media_type, size, outline.page_count, pages)


async def page(request: web.Request) -> web.StreamResponse:
    """A page of the PDF in an instance as PNG, from 1; 415 where it cannot be drawn."""
    found, number = await located(request), whole_number(request.match_info["page"])
    if found is None or found.sop_class_uid != PDF or not number:
        return unknown(request)
    tag = entity_tag(__version__, found.key, "page", number)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    try:
        if number > len((await _outline(request, found)).sizes):
            return unknown(request)
        made = await _made(request, found, number)
    except DataSetError as error:
        return unsupported(request, error)
    return web.Response(body=made, content_type=PNG, headers=validators(tag))


async def _outline(request: web.Request, found: Located) -> PdfOutline:
    return outline_of(await _made(request, found, 0))


async def _made(request: web.Request, found: Located, number: int) -> bytes:
    """The outline of a PDF (0), or a page of it as PNG. Raises DataSetError."""
    memory = request.app[RETRIEVAL].frame_memory

    def make(stored: StoredObject, one: Located) -> bytes:
        with memory.reserved(WORK_BYTES):
            data = document_bytes(stored, one, MAX_PDF_BYTES)
            return draw_page(data, number) if number else read_outline(data)

    return await request.app[RENDERER].derived(found, f"page {number}", make)


ROUTES = (
    Route(
        "GET",
        "/ui/instances/{id}/pages/{page}",
        page,
        "view",
        answers=(PNG,),
        errors=(404, 415, 503),
        name="document-page",
    ),
)
