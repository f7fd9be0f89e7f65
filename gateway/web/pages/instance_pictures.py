"""What the pages of series and instances show of one frame: its pixels for `static/view.js`, a thumbnail, an ECG."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway import __version__
from gateway.dicom.uids import name_of
from gateway.errors import BadRequest, DataSetError
from gateway.index.locate import Located
from gateway.render.ecg import as_svg, read_waveform
from gateway.render.picture import JPEG
from gateway.render.rendering import RenderOptions
from gateway.render.viewport import Viewport
from gateway.storage.store import StoredObject
from gateway.web.conditional import entity_tag, unchanged, validators
from gateway.web.dicomweb.resources import RENDERER
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import unknown
from gateway.web.rest.instance_files import located
from gateway.web.rest.pictures import unsupported
from gateway.web.route import Parameter, Route, at_least
from gateway.web.security import ATTACHMENT

THUMBNAIL: Final = 96
"""Pixels of the longer side of a thumbnail on a page."""
_LEAST, _MOST = 16, 512
_QUALITY: Final = 80
_OCTETS: Final = "application/octet-stream"
_SVG: Final = "image/svg+xml"


async def pixels(request: web.Request) -> web.StreamResponse:
    """The samples of a frame and how they are displayed, in the format of `render/frame_view.py`; 415 where there is
    nothing that can be decoded."""
    found, number = await located(request), whole_number(request.match_info["frame"])
    if found is None or number is None:
        return unknown(request)
    tag = entity_tag(__version__, found.key, number, "view")
    if (answer := unchanged(request, tag)) is not None:
        return answer
    try:
        made = await request.app[RENDERER].view(found, number)
    except DataSetError as error:
        return unsupported(request, error)
    return web.Response(body=made, content_type=_OCTETS, headers={**validators(tag), **ATTACHMENT})


async def thumbnail(request: web.Request) -> web.StreamResponse:
    """A small JPEG of an instance; for what is no image, a card that says what it is."""
    size = whole_number(request.query.get("size", str(THUMBNAIL)))
    if size is None or not _LEAST <= size <= _MOST:
        raise BadRequest(f"size: {request.query['size'][:40]!r} is not a whole number from {_LEAST} to {_MOST}")
    found = await located(request)
    if found is None:
        return unknown(request)
    tag = entity_tag(__version__, found.key, "thumbnail", size)
    if (answer := unchanged(request, tag)) is not None:
        return answer
    options = RenderOptions(JPEG, _QUALITY, viewport=Viewport(size, size))
    words = (name_of(found.sop_class_uid).removesuffix(" Storage"),)
    made = await request.app[RENDERER].thumbnail(found, None, options, words)
    return web.Response(body=made, content_type=JPEG, headers=validators(tag))


async def waveform(request: web.Request) -> web.StreamResponse:
    """The waveforms of an instance, such as an ECG, on a millimetre grid; 415 where it has none."""
    found = await located(request)
    if found is None:
        return unknown(request)
    tag = entity_tag(__version__, found.key, _SVG)
    if (answer := unchanged(request, tag)) is not None:
        return answer

    def make(stored: StoredObject, one: Located) -> bytes:
        read = read_waveform(stored.read, one.data_set_offset, one.size, one.transfer_syntax_uid)
        return as_svg(read).encode()

    try:
        made = await request.app[RENDERER].derived(found, _SVG, make)
    except DataSetError as error:
        return unsupported(request, error)
    return web.Response(body=made, content_type=_SVG, charset="utf-8", headers=validators(tag))


ROUTES = (
    Route(
        "GET",
        "/ui/instances/{id}/frames/{frame}/pixels",
        pixels,
        "view",
        answers=(_OCTETS,),
        errors=(404, 415),
        name="frame-pixels",
    ),
    Route(
        "GET",
        "/ui/instances/{id}/thumbnail",
        thumbnail,
        "view",
        (Parameter("size", "Pixels of the longer side", at_least(_LEAST, _MOST), "96"),),
        answers=(JPEG,),
        errors=(404,),
        name="instance-thumbnail",
    ),
    Route(
        "GET",
        "/ui/instances/{id}/waveform",
        waveform,
        "view",
        answers=(_SVG,),
        errors=(404, 415),
        name="instance-waveform",
    ),
)
