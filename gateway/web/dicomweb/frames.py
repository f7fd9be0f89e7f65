"""WADO-RS frames (PS3.18 §10.4.1.1.3): single frames of an instance, compressed or not. `rendered.py` renders."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.dicom.bulk import DataSet, FragmentStream, value_at
from gateway.dicom.uids import transfer_syntax
from gateway.errors import DataSetError, NotFound
from gateway.http.multipart_writer import MULTIPART
from gateway.imaging.image import PIXEL_DATA
from gateway.imaging.pixels import VIDEO, PixelData
from gateway.index.locate import Located
from gateway.retrieve.frame_index import FrameIndexCache
from gateway.retrieve.frame_memory import FrameMemory
from gateway.retrieve.frames import frame_bytes, pixels_with
from gateway.storage.store import StoredObject
from gateway.web.accept import wanted
from gateway.web.dicomweb.media import Form, media_type_of, pixel_form, stored_form
from gateway.web.dicomweb.parts import Items, Part, Span, cut, send, size_of, span_for, whole
from gateway.web.dicomweb.resources import RETRIEVAL, Target, frame_numbers, one_instance
from gateway.web.errors import NotAcceptable
from gateway.web.route import ACCEPT, FRAMES, INSTANCE, Route
from gateway.web.urls import ObjectUrl, object_url

FRAME_INDEX: web.AppKey[FrameIndexCache] = web.AppKey("frame index", FrameIndexCache)
MAX_FRAMES: Final = 10_000
"""Frames in one request."""


async def frames(request: web.Request) -> web.StreamResponse:
    """The frames listed in the path, in its order."""
    numbers = frame_numbers(request.match_info["frames"], MAX_FRAMES)
    target = Target.of(request)
    retrieval, places = request.app[RETRIEVAL], request.app[FRAME_INDEX]
    ranges, single = wanted(request), len(numbers) == 1
    urls = object_url(request, "frames")
    located = await one_instance(retrieval, target)
    form = pixel_form(ranges, located.transfer_syntax_uid, single=single)
    span = whole if form.multipart else span_for(request)

    def work(stored: StoredObject, one: Located) -> Items:
        same = one.transfer_syntax_uid == located.transfer_syntax_uid
        chosen = form if same else pixel_form(ranges, one.transfer_syntax_uid, single=single)
        pixels = pixels_with(places, stored, one, numbers)
        if chosen.transfer_syntax == one.transfer_syntax_uid and chosen.transfer_syntax in VIDEO:
            # One stream of any length: not read whole like a frame.
            yield from stream_items(stored, one, f"{PIXEL_DATA:08X}", chosen, frame_url(urls, one, 1), span)
            return
        spare = stored_form(ranges, one.transfer_syntax_uid, chosen)
        for number in numbers:
            url = frame_url(urls, one, number)
            yield from frame_items(pixels, stored, one, number - 1, chosen, spare, url, span, retrieval.frame_memory)

    items = retrieval.pieces(located, work, size_of, decodes=decodes(form, located))
    return await send(request, items, f"instance {target.instance} has no frames")


def frame_url(urls: ObjectUrl, located: Located, number: int) -> str:
    """The URL of one frame; `urls` are those of route `frames`, or of the frames of bulk data."""
    uids = {"study": located.study_uid, "series": located.series_uid, "instance": located.sop_uid}
    return urls.of(located.clashing_patient, **uids, frames=number)


def decodes(form: Form, located: Located) -> bool:
    """Whether a form needs pixels to be decoded or encoded, which takes long."""
    stored = located.transfer_syntax_uid
    return form.transfer_syntax != stored and (form.encapsulated or transfer_syntax(stored).encapsulated)


def frame_items(
    pixels: PixelData,
    stored: StoredObject,
    one: Located,
    number: int,
    form: Form,
    spare: Form | None,
    url: str,
    span: Span,
    memory: FrameMemory,
) -> Items:
    """One frame, `number` from 0, as a part; in the spare form if it cannot be decoded. Raises NotAcceptable."""
    try:
        data = frame_bytes(pixels, stored, number, form.transfer_syntax, memory, compressed=form.encapsulated)
    except DataSetError as error:
        if spare is None or spare == form:
            raise not_decoded(one, f"frame {number + 1}", error) from error
        form = spare
        data = frame_bytes(pixels, stored, number, form.transfer_syntax, memory, compressed=form.encapsulated)
    part = Part(form.content_type, len(data), url, one.key, form.multipart)
    piece = cut(data, span(part))
    yield part
    yield piece


def not_decoded(one: Located, what: str, error: DataSetError) -> NotAcceptable:
    stored = one.transfer_syntax_uid
    kept = f" as {media_type_of(stored)}, transfer-syntax={stored}" if transfer_syntax(stored).encapsulated else ""
    return NotAcceptable(
        f"{what} of instance {one.sop_uid} cannot be decoded: {error}; it is available as stored{kept}"
    )


def stream_items(stored: StoredObject, one: Located, path: str, form: Form, url: str, span: Span) -> Items:
    """The stream of the fragments at `path`, as a part."""
    data_set = data_set_of(stored, one)
    value = value_at(data_set, path)
    if value is None or not value.fragments:
        raise NotFound(f"instance {one.sop_uid} has no fragments at {path}")
    fragments = FragmentStream(data_set, value)
    part = Part(form.content_type, fragments.length, url, one.key, form.multipart)
    start, stop = span(part)
    yield part
    yield from fragments.pieces(start, stop)


def data_set_of(stored: StoredObject, located: Located) -> DataSet:
    return DataSet(stored.read, located.data_set_offset, located.size, located.transfer_syntax_uid)


_ERRORS: Final = (404, 406, 409, 503)
_FORMS: Final = (MULTIPART, "application/octet-stream", "image/*", "video/*")
ROUTES = (
    Route("GET", FRAMES, frames, "view", (ACCEPT,), answers=_FORMS, errors=_ERRORS, name="frames"),
    Route(
        "GET",
        INSTANCE + "/bulkdata/7FE00010/frames/{frames}",
        frames,
        "view",
        (ACCEPT,),
        answers=_FORMS,
        errors=_ERRORS,
        name="bulkdata.frames",
    ),
)
"""The table PS3.18 10.4.1-1, as for all retrievals."""
